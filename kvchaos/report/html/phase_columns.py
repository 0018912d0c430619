"""Before, during and after the faults, phase by phase: outcomes, latency, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from history.plan import PhaseSpec, Role
from history.reader import History, PhaseWindow
from history.records import RequestRecord
from kvchaos.report.html.figures import NOTHING, number, seconds
from kvchaos.report.html.latency_chart import longest_itl, mean_itl
from kvchaos.report.latency import PhaseLatency, Spread, phase_latencies
from oracles.timeline import NS_PER_S


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, a cell a phase."""

    name: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A phase, and whether it lies before, during or after the faults; empty where there are none."""

    when: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class PhaseTable:
    """A column a phase that began."""

    columns: list[Column]
    rows: list[Row]
    with_faults: bool


def phase_table(history: History) -> PhaseTable:
    """Latency as in summary.md, and what goes with it."""
    windows = history.phases()
    by_phase = [[record for record in history.requests if record.phase == one.spec.name] for one in windows]
    latencies = phase_latencies(history)
    itl = [
        Spread.of(value for record in _good(own) if (value := mean_itl(record)) is not None)
        for own in by_phase
    ]
    longest = [Spread.of(value for _, value in longest_itl(_good(own))) for own in by_phase]
    return PhaseTable(
        columns=columns([one.spec for one in windows]),
        rows=[
            Row("lasted", [seconds((one.end_ns - one.start_ns) / NS_PER_S) for one in windows]),
            Row("arrivals, at most at once", [_load(one) for one in windows]),
            Row("requests ok / failed / aborted", [_outcomes(own) for own in by_phase]),
            *_latency_rows(latencies),
            Row("ITL, mean of a request (TPOT)", list(map(str, itl))),
            Row("longest ITL of a request", list(map(str, longest))),
            Row("answered tokens a second", _a_second(windows, [_tokens(own) for own in by_phase])),
            Row("requests ok a second", _a_second(windows, [len(_good(own)) for own in by_phase])),
        ],
        with_faults=any(one.spec.role == "chaos" for one in windows),
    )


def columns(phases: Sequence[PhaseSpec]) -> list[Column]:
    """By their place among the phases with faults."""
    struck = [place for place, phase in enumerate(phases) if phase.role == "chaos"]
    return [
        Column(_when(place, struck) if struck else "", phase.name, phase.role)
        for place, phase in enumerate(phases)
    ]


def _when(place: int, struck: Sequence[int]) -> str:
    if place in struck:
        return "during"
    if place < struck[0]:
        return "before"
    return "after" if place > struck[-1] else "between"


def _latency_rows(latencies: Sequence[PhaseLatency]) -> list[Row]:
    return [
        Row("TTFT", [str(one.ttft) for one in latencies]),
        Row("TTFT from when due", [str(one.ttft_intended) for one in latencies]),
        Row("whole request", [str(one.total) for one in latencies]),
        Row("whole request from when due", [str(one.total_intended) for one in latencies]),
    ]


def _good(records: Iterable[RequestRecord]) -> list[RequestRecord]:
    return [record for record in records if record.outcome == "ok"]


def _outcomes(records: Iterable[RequestRecord]) -> str:
    counts = Counter(record.outcome for record in records)
    return f"{counts['ok']} / {counts['error'] + counts['unknown']} / {counts['aborted']}"


def _load(window: PhaseWindow) -> str:
    return f"{window.spec.arrivals.kind}, {window.spec.concurrency}"


def _tokens(records: Iterable[RequestRecord]) -> int:
    return sum(len(record.token_ids) for record in records)


def _a_second(windows: Sequence[PhaseWindow], amounts: Sequence[int]) -> list[str]:
    return [
        number(amount * NS_PER_S / (one.end_ns - one.start_ns)) if one.end_ns > one.start_ns else NOTHING
        for one, amount in zip(windows, amounts, strict=True)
    ]
