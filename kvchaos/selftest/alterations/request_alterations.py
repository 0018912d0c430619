"""The client's records of requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from history.reader import History
from history.records import FaultRecord, RequestRecord
from kvchaos.selftest.alterations.alteration import Alteration, answered_request, with_request
from oracles import accounting, blast, endings, outcomes
from oracles.blast import strikes_of
from oracles.findings import Rule
from oracles.views.timeline import end_ns


def _request(rule: Rule, what: str, changes: Callable[[RequestRecord], dict[str, object]]) -> Alteration:
    """One answered request is otherwise."""

    def alter(history: History) -> History:
        record = answered_request(history)
        return with_request(history, record, **changes(record))

    return Alteration(rule, what, alter)


def _twice(history: History) -> History:
    return replace(history, requests=[*history.requests, answered_request(history)])


def _lost(history: History) -> History:
    gone = answered_request(history)
    return replace(history, requests=[record for record in history.requests if record is not gone])


def _served_what_nobody_can(history: History) -> History:
    at_ns = history.events[-1].t_ns
    line = FaultRecord(
        t_ns=at_ns,
        mono_ns=at_ns,
        role="outside",
        pid=1,
        event="fired",
        fault="wrong",
        kind=endings.WRONG_REQUESTS[0],
        site=None,
        n=0,
        request=None,
        evidence={"forms": ["not-json"], "statuses": [500], "bodies": ["Internal Server Error"]},
    )
    return replace(history, faults=[*history.faults, line])


def _bystander_fails(history: History) -> History:
    strikes = strikes_of(history)
    bystander = next(
        record
        for record in history.requests
        if record.first_block is not None
        and end_ns(record) >= strikes.first_ns
        and not strikes.can_have_touched(record)
    )
    return with_request(history, bystander, outcome="error", status=500)


def _shorter(record: RequestRecord) -> dict[str, object]:
    """Without its last token, everywhere."""
    usage = record.usage
    assert usage is not None
    return {
        "token_ids": list(record.token_ids)[:-1],
        "logprobs": list(record.logprobs)[:-1],
        "chunk_us": list(record.chunk_us)[:-1],
        "chunk_tokens": list(record.chunk_tokens)[:-1],
        "usage": msgspec.structs.replace(usage, completion_tokens=usage.completion_tokens - 1),
    }


def _usage(record: RequestRecord, **changes: int) -> dict[str, object]:
    assert record.usage is not None
    return {"usage": msgspec.structs.replace(record.usage, **changes)}


ALTERATIONS = (
    Alteration(outcomes.DUPLICATE, "a request has two records", _twice),
    Alteration(outcomes.NOT_RECORDED, "a request has no record", _lost),
    Alteration(endings.NOT_REFUSED, "a malformed request gets status 500", _served_what_nobody_can),
    Alteration(blast.BYSTANDER_FAILED, "a request that no fault has touched fails", _bystander_fails),
    _request(outcomes.STATUS, "a good answer has status 500", lambda _: {"status": 500}),
    _request(outcomes.USAGE_MISSING, "an answer has no usage", lambda _: {"usage": None}),
    _request(
        outcomes.FINISH_REASON, "an answer ends for no good reason", lambda _: {"finish_reason": "error"}
    ),
    _request(outcomes.TOO_SHORT, "an answer ends for length a token too early", _shorter),
    _request(
        outcomes.TOO_LONG,
        "an answer has more tokens than requested",
        lambda record: {"max_tokens": len(record.token_ids) - 1},
    ),
    _request(
        outcomes.STREAM,
        "events come in the wrong order",
        lambda record: {"chunk_us": list(reversed(record.chunk_us))},
    ),
    _request(
        outcomes.LOGPROBS,
        "a logprob is above 0",
        lambda record: {"logprobs": [0.5, *list(record.logprobs)[1:]]},
    ),
    _request(
        endings.FALSE_STOP,
        "an answer ends for stop where no request has stops",
        lambda _: {"finish_reason": "stop"},
    ),
    _request(
        endings.PARTIAL_BLOCK,
        "an answer has one cached token",
        lambda record: _usage(record, cached_tokens=1),
    ),
    _request(
        accounting.USAGE_RANGE,
        "an answer has fewer than 0 cached tokens",
        lambda record: _usage(record, cached_tokens=-1),
    ),
)
