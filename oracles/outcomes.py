"""Did every request end exactly once, whole, without error, and does the stream agree with its usage?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from history.columnar import reals, wholes
from history.events import PhaseEnd
from history.reader import History
from history.records import DEADLINE_EXCEEDED, PROBE, RequestRecord
from history.verdict import Figures, OracleResult, phase, request
from oracles.endings import RULES as ENDINGS
from oracles.endings import judge_endings, judge_refusals
from oracles.findings import EVENTS, REQUESTS, Findings, Oracle, Rule, Source
from oracles.views.incarnations import outage_at
from oracles.views.struck_requests import cut_off
from oracles.views.timeline import by_phase, end_ns

NAME = "outcomes"
BROKEN_OFF = "abort"
"""The finish reason by which a server tells that it breaks an answer off."""
MAX_TEXT = 200
BLOCK = 20_000
"""Requests whose streams are looked at together."""
API: Source = "HTTP and the OpenAI API"


def _rule(name: str, law: str, source: Source = API, *reads: str, inconclusive: str = "never") -> Rule:
    return Rule(f"{NAME}/{name}", law, source, reads or (REQUESTS,), inconclusive)


DUPLICATE = _rule("duplicate-record", "Each request has one record.", "arithmetic")
NOT_RECORDED = _rule(
    "record-missing",
    "Each request that was sent in a phase has a record.",
    "arithmetic",
    REQUESTS,
    EVENTS,
    inconclusive="a phase has no recorded end",
)
TRUNCATED = _rule(
    "truncated-stream", "An answer with status 200 is complete, unless a fault or the client ends it.", API
)
FAILED = _rule(
    "request-failed",
    "Each well-formed request is answered with status 200, unless a fault has ended the server.",
)
STATUS = _rule("inconsistent-status", "A request that ended well has status 200 and no error.")
USAGE_MISSING = _rule("usage-missing", "An answer has the usage that was requested.")
COMPLETION_TOKENS = _rule(
    "completion-tokens", "The completion tokens in the usage are as many as the tokens of the stream."
)
PROMPT_TOKENS = _rule("prompt-tokens", "The prompt tokens in the usage are as many as were sent.")
FINISH_REASON = _rule("finish-reason", "An answer ends with finish reason length or stop.")
TOO_SHORT = _rule(
    "too-few-tokens", "An answer with finish reason length has max_tokens tokens, or fills the context."
)
TOO_LONG = _rule("too-many-tokens", "No answer has more than max_tokens tokens.")
STREAM = _rule(
    "stream-inconsistent", "The chunks have all tokens of the answer and a time each, and no time decreases."
)
LOGPROBS = _rule("logprobs", "Each token has one logprob, which is finite and at most 0.")
RULES = (
    DUPLICATE,
    NOT_RECORDED,
    TRUNCATED,
    FAILED,
    STATUS,
    USAGE_MISSING,
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    FINISH_REASON,
    TOO_SHORT,
    TOO_LONG,
    STREAM,
    LOGPROBS,
    *ENDINGS,
)


class Problem(NamedTuple):
    """What is wrong with a request."""

    rule: Rule
    text: str
    """A predicate, such as `has no usage`; the request is its subject."""
    figures: Figures


def judge(history: History) -> OracleResult:
    """One record a request, no error, no cut stream, and every count of tokens the same."""
    found = Findings(NAME)
    found.checked = len(history.requests)
    _ids(history, found)
    _all_recorded(history, found)
    judge_endings(history, found)
    refused, cut = judge_refusals(history, found), cut_off(history)
    context = history.plan.scenario.server.max_model_len
    excused = 0
    for record, odd in zip(history.requests, _odd_streams(history.requests), strict=True):
        if record.id in cut or (not odd and _is_plain(record)):
            continue
        if _excused(history, record):
            excused += 1
            continue
        for problem in (*_problems(record, context), *(_stream_problems(record) if odd else ())):
            text = f"request {record.id} ({record.phase}) {problem.text}"
            found.violation(
                problem.rule,
                request(record.id),
                text,
                figures=problem.figures,
                phase=record.phase,
                t_ns=record.start_ns,
            )
    ends = Counter(map(attrgetter("outcome"), history.requests))
    lost = ends["unknown"]
    if lost:
        found.gap("unknown-end", f"the end of {lost} requests is not known", figures={"requests": lost})
    aborted = ends["aborted"]
    ended = len(history.requests) - len(cut) - excused
    well = f"{ended} requests ended well ({aborted} aborted on purpose)"
    exceptions = f"; {len(cut)} were cut off with their connections" if cut else ""
    exceptions += f"; {excused} failed while a fault had ended the server" if excused else ""
    exceptions += f"; {refused} malformed requests were refused" if refused else ""
    return found.result(
        well + exceptions, ended=ended, aborted=aborted, cut=len(cut), excused=excused, refused=refused
    )


def _is_plain(record: RequestRecord) -> bool:
    """Whether only its stream can be wrong, as with most requests: no rule needs a closer look then."""
    usage, tokens = record.usage, len(record.token_ids)
    return (
        record.outcome == "ok"
        and record.status == 200
        and record.error is None
        and usage is not None
        and usage.completion_tokens == tokens
        and usage.prompt_tokens == record.prompt_tokens
        and record.finish_reason in ("length", "stop")
        and (tokens == record.max_tokens * record.choices or record.finish_reason == "stop")
        and tokens <= record.max_tokens * record.choices
    )


def _excused(history: History, record: RequestRecord) -> bool:
    """Whether a request failed in a way that is allowed where a fault ended the server.

    It may get no answer, a part of one, or a status that blames the server. A request that hangs until the
    client gives up is not excused.
    """
    if record.outcome == "ok":
        failed = record.finish_reason == BROKEN_OFF
    elif record.outcome == "error" and not (
        record.error is not None and record.error.kind == DEADLINE_EXCEEDED
    ):
        failed = record.status is None or record.status == 200 or record.status >= 500
    else:
        failed = False
    return failed and outage_at(history, record.start_ns, end_ns(record)) is not None


def _ids(history: History, found: Findings) -> None:
    ids = [record.id for record in history.requests]
    if len(set(ids)) == len(ids):
        return
    counts = Counter(ids)
    for name, count in counts.items():
        if count > 1:
            text = f"request {name} has {count} records"
            found.violation(DUPLICATE, request(name), text, figures={"records": count})


def _all_recorded(history: History, found: Findings) -> None:
    counts = Counter({name: len(records) for name, records in by_phase(history).items()})
    ends = history.events_of(PhaseEnd)
    specs = {spec.name: spec for spec in history.plan.scenario.phases}
    for event in ends:
        name, sent = event.data.phase, event.data.sent
        if counts[name] != sent:
            text = f"phase {name} sent {sent} requests, but {counts[name]} have a record"
            figures = {"sent": sent, "recorded": counts[name]}
            found.violation(NOT_RECORDED, phase(name), text, figures=figures, t_ns=event.t_ns)
        planned = specs[name].requests if name in specs else sent
        if event.data.reason == "done" and sent != planned:
            text = f"phase {name} sent only {sent} of {planned} planned requests"
            found.gap("load-not-sent", text, phase(name), figures={"planned": planned, "sent": sent})
    ended = {event.data.phase for event in ends}
    for window in history.phases():
        if window.spec.name not in ended:
            text = f"phase {window.spec.name} has no recorded end, so the number of its requests is not known"
            found.gap("no-phase-end", text, phase(window.spec.name))


def _problems(record: RequestRecord, context: int) -> Iterator[Problem]:
    if record.outcome == "error":
        yield _error(record)
    if record.outcome != "ok":
        return
    if record.error is not None or record.status != 200:
        text = f"counts as ok with status {record.status} and error {record.error}"
        yield Problem(STATUS, text, _status(record))
    yield from _usage(record)
    yield from _finish(record, context)


def _odd_streams(requests: Sequence[RequestRecord]) -> Iterator[bool]:
    """Whether there may be a problem with the stream, for each request; most have none."""
    for first in range(0, len(requests), BLOCK):
        records = requests[first : first + BLOCK]
        tokens = np.fromiter((len(record.token_ids) for record in records), np.int64)
        by_chunk = wholes([record.chunk_tokens for record in records])
        times = wholes([record.chunk_us for record in records])
        logprobs = reals([record.logprobs for record in records])
        odd = (by_chunk.sums() != tokens) | (by_chunk.counts != times.counts) | (logprobs.counts != tokens)
        odd |= times.sums(times.falls()) > 0
        odd |= logprobs.sums(~np.isfinite(logprobs.values) | (logprobs.values > 0)) > 0
        yield from odd.tolist()


def _stream_problems(record: RequestRecord) -> Iterator[Problem]:
    if record.outcome == "ok":
        yield from _stream(record)
        yield from _logprobs(record)


def _error(record: RequestRecord) -> Problem:
    reason = "no reason recorded"
    if record.error is not None:
        reason = f"{record.error.kind}: {record.error.message[:MAX_TEXT]}"
    if record.status == 200:
        tokens = len(record.token_ids)
        text = f"got HTTP 200 but no complete answer after {tokens} tokens: {reason}"
        return Problem(TRUNCATED, text, {"tokens": tokens})
    return Problem(FAILED, f"failed with status {record.status}: {reason}", _status(record))


def _status(record: RequestRecord) -> Figures:
    return {} if record.status is None else {"status": record.status}


def _usage(record: RequestRecord) -> Iterator[Problem]:
    usage, tokens = record.usage, len(record.token_ids)
    if usage is None:
        yield Problem(USAGE_MISSING, "has no usage in its answer", {})
        return
    if usage.completion_tokens != tokens:
        text = f"got {tokens} tokens, but its usage counts {usage.completion_tokens} completion tokens"
        yield Problem(COMPLETION_TOKENS, text, {"usage": usage.completion_tokens, "stream": tokens})
    if usage.prompt_tokens != record.prompt_tokens:
        text = f"sent {record.prompt_tokens} prompt tokens, but its usage counts {usage.prompt_tokens}"
        yield Problem(PROMPT_TOKENS, text, {"usage": usage.prompt_tokens, "sent": record.prompt_tokens})


def _finish(record: RequestRecord, context: int) -> Iterator[Problem]:
    tokens, requested = len(record.token_ids), record.max_tokens * record.choices
    if record.finish_reason not in ("length", "stop"):
        yield Problem(FINISH_REASON, f"ended with finish reason {record.finish_reason}", {})
    full = record.prompt_tokens + tokens // record.choices >= context
    if record.finish_reason == "length" and tokens < requested and not full:
        text = f"ended with finish reason length after {tokens} of {requested} tokens"
        yield Problem(TOO_SHORT, text, {"tokens": tokens, "requested": requested})
    if tokens > requested:
        text = f"got {tokens} tokens but requested at most {requested}"
        yield Problem(TOO_LONG, text, {"tokens": tokens, "requested": requested})


def _stream(record: RequestRecord) -> Iterator[Problem]:
    by_chunk, tokens = sum(record.chunk_tokens), len(record.token_ids)
    if by_chunk != tokens:
        text = f"got {by_chunk} tokens in its chunks, but {tokens} in all"
        yield Problem(STREAM, text, {"tokens_by_chunk": by_chunk, "tokens": tokens})
    times, chunks = len(record.chunk_us), len(record.chunk_tokens)
    if times != chunks:
        yield Problem(STREAM, f"has {times} times for {chunks} chunks", {"times": times, "chunks": chunks})
    falls = sum(earlier > later for earlier, later in pairwise(record.chunk_us))
    if falls:
        yield Problem(STREAM, f"has {falls} chunks that are older than the chunk before", {"falls": falls})


def _logprobs(record: RequestRecord) -> Iterator[Problem]:
    # The conductor's own tiny requests may go without logprobs.
    needs_logprobs = bool(record.logprobs) or record.phase != PROBE
    if needs_logprobs and len(record.logprobs) != len(record.token_ids):
        figures: Figures = {"logprobs": len(record.logprobs), "tokens": len(record.token_ids)}
        text = f"has {len(record.logprobs)} logprobs for {len(record.token_ids)} tokens"
        yield Problem(LOGPROBS, text, figures)
    for position, value in enumerate(record.logprobs):
        if not math.isfinite(value) or value > 0:
            text = f"has logprob {value} at position {position}"
            yield Problem(LOGPROBS, text, {"position": position, "logprob": value})
            return


ORACLE = Oracle(NAME, "every request ends once, complete and without error", (REQUESTS, EVENTS), judge, RULES)
