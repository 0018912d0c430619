"""Did every request end exactly once, whole, without error, and does the stream agree with its usage?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from history.ragged import reals, wholes
from history.reader import History
from history.records import CANARY, RequestRecord
from history.verdict import OracleResult, Witness
from oracles import refusals
from oracles.findings import Findings
from oracles.leaving import cut_off
from oracles.lives import outage_at
from oracles.timeline import end_ns

NAME = "outcomes"
HANGS = "DeadlineExceeded"
BROKEN_OFF = "abort"
"""The finish reason by which a server tells that it breaks an answer off."""
MAX_TEXT = 200
BLOCK = 20_000
"""Requests whose streams are looked at together."""


def judge(history: History) -> OracleResult:
    """One record a request, no error, no cut stream, and every count of tokens the same."""
    found = Findings(NAME)
    found.checked = len(history.requests)
    _ids(history, found)
    _all_recorded(history, found)
    refused, cut = refusals.judge(history, found), cut_off(history)
    context = history.plan.scenario.server.max_model_len
    excused = 0
    for record, odd in zip(history.requests, _odd_streams(history.requests), strict=True):
        if record.id in cut:
            continue
        if _excused(history, record):
            excused += 1
            continue
        for problem in (*_problems(record, context), *(_stream_problems(record) if odd else ())):
            text = f"request {record.id} ({record.phase}): {problem}"
            found.violation(Witness(text=text, request=record.id, t_ns=record.start_ns))
    lost = sum(record.outcome == "unknown" for record in history.requests)
    if lost:
        found.gap(f"{lost} requests with an unknown end")
    aborted = sum(record.outcome == "aborted" for record in history.requests)
    well = f"{len(history.requests) - len(cut) - excused} requests ended well ({aborted} aborted on purpose)"
    told = f"; {len(cut)} were cut off with their connections" if cut else ""
    told += f"; {excused} failed while a fault left nobody to serve" if excused else ""
    return found.result(well + told + (f"; {refused} wrong requests were refused" if refused else ""))


def _excused(history: History, record: RequestRecord) -> bool:
    """Whether a request failed as it may where a fault has ended the server: without an answer, in its midst,
    or with the server's word that it is to blame. One that hangs until the client gives up is none."""
    if record.outcome == "ok":
        failed = record.finish_reason == BROKEN_OFF
    elif record.outcome == "error" and not (record.error is not None and record.error.kind == HANGS):
        failed = record.status is None or record.status == 200 or record.status >= 500
    else:
        failed = False
    return failed and outage_at(history, record.start_ns, end_ns(record)) is not None


def _ids(history: History, found: Findings) -> None:
    counts = Counter(record.id for record in history.requests)
    for request, count in counts.items():
        if count > 1:
            found.violation(Witness(text=f"request {request} has {count} records", request=request))


def _all_recorded(history: History, found: Findings) -> None:
    counts = Counter(record.phase for record in history.requests)
    for event in history.events_of("phase_end"):
        phase, sent = event.data.get("phase"), event.data.get("sent")
        if not isinstance(phase, str) or not isinstance(sent, int):
            found.gap("a phase_end event without phase or sent")
        elif counts[phase] != sent:
            text = f"phase {phase}: {sent} requests sent, {counts[phase]} recorded"
            found.violation(Witness(text=text, t_ns=event.t_ns))
    ended = {event.data.get("phase") for event in history.events_of("phase_end")}
    for window in history.phases():
        if window.spec.name not in ended:
            found.gap(f"phase {window.spec.name} has no end: how many requests were sent is not known")


def _problems(record: RequestRecord, context: int) -> Iterator[str]:
    if record.outcome == "error":
        yield _error(record)
    if record.outcome != "ok":
        return
    if record.error is not None or record.status != 200:
        yield f"counted as ok with status {record.status} and error {record.error}"
    yield from _usage(record)
    yield from _finish(record, context)


def _odd_streams(requests: Sequence[RequestRecord]) -> Iterator[bool]:
    """Of each request whether there may be a problem with its stream; of most there is none."""
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


def _stream_problems(record: RequestRecord) -> Iterator[str]:
    if record.outcome == "ok":
        yield from _stream(record)
        yield from _logprobs(record)


def _error(record: RequestRecord) -> str:
    said = "no reason recorded"
    if record.error is not None:
        said = f"{record.error.kind}: {record.error.message[:MAX_TEXT]}"
    if record.status == 200:
        return f"HTTP 200, yet no whole answer after {len(record.token_ids)} tokens: {said}"
    return f"failed with status {record.status}: {said}"


def _usage(record: RequestRecord) -> Iterator[str]:
    usage, tokens = record.usage, len(record.token_ids)
    if usage is None:
        yield "no usage in the answer"
        return
    if usage.completion_tokens != tokens:
        yield f"usage says {usage.completion_tokens} completion tokens, {tokens} came"
    if usage.prompt_tokens != record.prompt_tokens:
        yield f"usage says {usage.prompt_tokens} prompt tokens, {record.prompt_tokens} were sent"


def _finish(record: RequestRecord, context: int) -> Iterator[str]:
    tokens, asked = len(record.token_ids), record.max_tokens * record.choices
    if record.finish_reason not in ("length", "stop"):
        yield f"finish reason {record.finish_reason}"
    full = record.prompt_tokens + tokens // record.choices >= context
    if record.finish_reason == "length" and tokens < asked and not full:
        yield f"cut for length after {tokens} of {asked} tokens"
    if tokens > asked:
        yield f"{tokens} tokens where at most {asked} were asked for"


def _stream(record: RequestRecord) -> Iterator[str]:
    if sum(record.chunk_tokens) != len(record.token_ids):
        yield f"{sum(record.chunk_tokens)} tokens by chunk, {len(record.token_ids)} in all"
    if len(record.chunk_us) != len(record.chunk_tokens):
        yield f"{len(record.chunk_us)} chunk times for {len(record.chunk_tokens)} chunks"
    if any(earlier > later for earlier, later in pairwise(record.chunk_us)):
        yield "chunk times run backwards"


def _logprobs(record: RequestRecord) -> Iterator[str]:
    # The conductor's own tiny requests may go without logprobs.
    told = bool(record.logprobs) or record.phase != CANARY
    if told and len(record.logprobs) != len(record.token_ids):
        yield f"{len(record.logprobs)} logprobs for {len(record.token_ids)} tokens"
    for place, value in enumerate(record.logprobs):
        if not math.isfinite(value) or value > 0:
            yield f"logprob {value} at position {place}"
            return
