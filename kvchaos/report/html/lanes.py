"""Swimlanes of failed requests: due, sent, tokens received, struck by a fault, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from history.events import ServerExit, ServerStalled
from history.reader import History
from history.records import RequestRecord
from kvchaos.report.html.axis import Tick, TimeAxis
from kvchaos.report.html.oracle_rows import NumberedFinding
from oracles.views.struck_requests import concerns
from oracles.views.timeline import NS_PER_US, end_ns

MAX_LANES = 8
MAX_GROUPS = 3
POSITIONS = 1000
"""Chunks nearer to each other than this part of the width are drawn as one."""
STOPS = (ServerStalled, ServerExit)
ENDS = {"ok": "ok", "error": "failed", "aborted": "aborted by the client", "unknown": "unknown end"}
SYMBOLS = {"ok": "✓", "error": "✗", "aborted": "■", "unknown": "?"}


@dataclass(frozen=True, slots=True)
class Lane:
    """One request; positions are per cent of the group's width."""

    request: str
    key: str
    phase: str
    outcome: str
    symbol: str
    description: str
    findings: list[int]
    due: float
    start: float
    first: float | None
    end: float
    chunks: list[float]
    strikes: list[Tick]


@dataclass(frozen=True, slots=True)
class LaneGroup:
    """Requests that ran at the same time."""

    axis: TimeAxis
    ticks: list[Tick]
    lanes: list[Lane]


@dataclass(frozen=True, slots=True)
class Lanes:
    """The first few; how many more failed or are named by a finding."""

    groups: list[LaneGroup]
    more: int


def lanes(history: History, findings: Sequence[NumberedFinding], axis: TimeAxis) -> Lanes:
    """Timelines of the requests that findings name, then of other failed or interrupted ones.

    Interrupted: in flight when the server stopped. Requests that overlap in time share a group.
    """
    waiting = _chosen(history, findings)
    groups: list[LaneGroup] = []
    while waiting and len(groups) < MAX_GROUPS:
        first = waiting[0]
        together = [one for one in waiting if _overlap(first, one)][:MAX_LANES]
        groups.append(_group(history, together, findings, axis.zero_ns, len(groups) + 1))
        taken = set(map(id, together))
        waiting = [one for one in waiting if id(one) not in taken]
    return Lanes(groups, len(waiting))


def lane_keys(shown: Lanes) -> dict[str, str]:
    """The element id of each request that has a lane."""
    return {lane.request: lane.key for group in shown.groups for lane in group.lanes}


def _chosen(history: History, findings: Sequence[NumberedFinding]) -> list[RequestRecord]:
    named = {finding.finding.request for finding in findings if finding.finding.request is not None}
    stops = [event.t_ns for event in history.timed if isinstance(event.data, STOPS)]
    chosen = [
        record
        for record in history.requests
        if record.id in named
        or record.outcome in ("error", "unknown")
        or (stops and any(record.start_ns <= t_ns <= end_ns(record) for t_ns in stops))
    ]
    return sorted(chosen, key=lambda record: (record.id not in named, record.start_ns))


def _overlap(one: RequestRecord, other: RequestRecord) -> bool:
    return one.start_ns <= end_ns(other) and other.start_ns <= end_ns(one)


def _group(
    history: History,
    records: Sequence[RequestRecord],
    findings: Sequence[NumberedFinding],
    zero_ns: int,
    number: int,
) -> LaneGroup:
    ordered = sorted(records, key=lambda record: record.start_ns)
    start = min(min(record.start_ns, record.scheduled_ns) for record in ordered)
    end = max(map(end_ns, ordered))
    margin = max((end - start) // 50, 1)
    axis = TimeAxis(start - margin, end + margin, zero_ns)
    drawn = [
        _lane(history, record, findings, axis, f"lane-{number}-{index}")
        for index, record in enumerate(ordered, start=1)
    ]
    return LaneGroup(axis, axis.ticks(), drawn)


def _lane(
    history: History, record: RequestRecord, findings: Sequence[NumberedFinding], axis: TimeAxis, key: str
) -> Lane:
    arrived = [axis.share(record.start_ns + us * NS_PER_US) for us in record.chunk_us]
    strikes = [
        Tick(axis.share(line.t_ns), f"{line.fault} ({line.kind}) struck it")
        for line in history.faults
        if line.event == "fired" and concerns(line.request, record)
    ]
    return Lane(
        request=record.id,
        key=key,
        phase=record.phase,
        outcome=record.outcome,
        symbol=SYMBOLS[record.outcome],
        description=_describe(record),
        findings=[finding.number for finding in findings if finding.finding.request == record.id],
        due=axis.share(record.scheduled_ns),
        start=axis.share(record.start_ns),
        first=None if record.first_us is None else axis.share(record.start_ns + record.first_us * NS_PER_US),
        end=axis.share(end_ns(record)),
        chunks=sorted({round(at * POSITIONS / 100) * 100 / POSITIONS for at in arrived}),
        strikes=strikes,
    )


def _describe(record: RequestRecord) -> str:
    first = "no token" if record.first_us is None else f"first token after {record.first_us / 1e3:.0f} ms"
    tokens = f"{len(record.token_ids)} of {record.max_tokens * record.choices} tokens"
    end = f"{ENDS[record.outcome]} after {record.end_us / 1e3:.0f} ms"
    error = f": {record.error.kind}: {record.error.message[:200]}" if record.error is not None else ""
    return f"{record.prompt_tokens} prompt tokens, {first}, {tokens}, {end}{error}"
