"""The client's records of requests: outcomes, the tokens of answers, and how fast they are to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec

from history.phase_spec import PhaseBounds
from history.reader import History
from history.records import FaultRecord, RequestRecord
from kvchaos.selftest.alterations.alteration import answered_request, with_request, with_scenario
from oracles import accounting, answers, blast, endings, outcomes, performance
from oracles.findings import Alteration, Rule
from oracles.strikes import strikes_of, struck_lines
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
    strikes = strikes_of(history, struck_lines(history))
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


_OF_REQUESTS = (
    Alteration(outcomes.DUPLICATE, "a request has two records", _twice),
    Alteration(outcomes.NOT_RECORDED, "a request has no record", _lost),
    Alteration(endings.NOT_REFUSED, "a malformed request gets status 500", _served_what_nobody_can),
    Alteration(blast.BYSTANDER_FAILED, "a request that no fault has touched fails", _bystander_fails),
    _request(outcomes.STATUS, "a good answer has status 500", lambda _: {"status": 500}),
    _request(outcomes.USAGE_MISSING, "an answer has no usage", lambda _: {"usage": None}),
    _request(
        outcomes.FINISH_REASON, "an answer has an unknown finish reason", lambda _: {"finish_reason": "error"}
    ),
    _request(outcomes.TOO_SHORT, "an answer ends with length one token too early", _shorter),
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
        "an answer ends with stop without a stop condition",
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


TINY = 1e-9
HUGE = 1e9
FIRST_PHASE = "any"
"""Placeholder for the name of the first phase."""


def _other_than_before(history: History) -> History:
    """Without golden answers: an answer differs from the first one to its prompt."""
    phases = [phase.model_copy(update={"role": "load"}) for phase in history.plan.scenario.phases]
    record = answered_request(history)
    tokens = [record.token_ids[0] + 1, *list(record.token_ids)[1:]]
    return with_scenario(with_request(history, record, token_ids=tokens), phases=tuple(phases))


def _bounded(bounds: PhaseBounds, history: History) -> History:
    """Bounds on the last phase that no server keeps; where they need another phase, that is the first."""
    first, last = history.plan.scenario.phases[0].name, history.plan.scenario.phases[-1].name
    whole = bounds if bounds.like is None else bounds.model_copy(update={"like": first})
    return with_scenario(history, performance={last: whole})


def _too_slow(rule: Rule, what: str, **bounds: object) -> Alteration:
    return Alteration(rule, what, partial(_bounded, PhaseBounds.model_validate(bounds)))


_OF_ANSWERS = (
    Alteration(
        answers.NOT_REPEATED, "without golden answers, a token is another than before", _other_than_before
    ),
    _too_slow(performance.TTFT_MEDIAN, "no TTFT is as low as the bound", ttft_median_ms=TINY),
    _too_slow(performance.ITL_P99, "no ITL is as low as the bound", itl_p99_ms=TINY),
    _too_slow(performance.THROUGHPUT, "no server is as fast as the bound", tokens_per_s=HUGE),
    _too_slow(
        performance.TTFT_RATIO, "the TTFT is to be far lower than before", like=FIRST_PHASE, ttft_ratio=TINY
    ),
    _too_slow(
        performance.THROUGHPUT_RATIO,
        "the tokens/s are to be far higher",
        like=FIRST_PHASE,
        tokens_ratio=HUGE,
    ),
    _too_slow(performance.RECOVERY, "the server is to recover at once", like=FIRST_PHASE, recover_s=TINY),
)


ALTERATIONS = (*_OF_REQUESTS, *_OF_ANSWERS)
