"""Before, during and after the faults, phase by phase: outcomes, latency, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from history.reader import History, PhaseWindow
from history.records import RequestRecord
from history.scenario import Role
from kvchaos.report.html.number_format import NO_VALUE, seconds
from kvchaos.report.phase_latency import PhaseLatency, phase_latencies
from oracles.speed import Speed, speeds
from oracles.views.timeline import NS_PER_S, by_phase


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One measure, a cell a phase."""

    name: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class PhaseColumn:
    """A phase, and whether it lies before, during or after the faults; empty where there are none."""

    when: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class PhaseTable:
    """A column a phase that began."""

    columns: list[PhaseColumn]
    rows: list[PhaseRow]
    with_faults: bool


def phase_table(history: History) -> PhaseTable:
    """Latency as in summary.md, the rest as the oracle for performance has it."""
    found = speeds(history)
    windows = [speed.window for speed in found]
    with_faults = any(one.spec.role == "chaos" for one in windows)
    return PhaseTable(
        columns=[
            PhaseColumn(speed.stage if with_faults else "", speed.name, speed.window.spec.role)
            for speed in found
        ],
        rows=[
            PhaseRow("lasted", [seconds((one.end_ns - one.start_ns) / NS_PER_S) for one in windows]),
            PhaseRow("arrivals, at most at once", [_load(one) for one in windows]),
            PhaseRow(
                "requests ok / failed / aborted",
                [_outcomes(by_phase(history).get(one.spec.name, [])) for one in windows],
            ),
            *_latency_rows(phase_latencies(history)),
            PhaseRow("ITL", [str(speed.itl) for speed in found]),
            PhaseRow("answered tokens a second", [_rate(speed) for speed in found]),
        ],
        with_faults=with_faults,
    )


def _latency_rows(latencies: Sequence[PhaseLatency]) -> list[PhaseRow]:
    return [
        PhaseRow("TTFT", [str(one.ttft) for one in latencies]),
        PhaseRow("TTFT from send", [str(one.ttft_from_send) for one in latencies]),
        PhaseRow("E2EL", [str(one.e2el) for one in latencies]),
        PhaseRow("E2EL from send", [str(one.e2el_from_send) for one in latencies]),
    ]


def _outcomes(records: Iterable[RequestRecord]) -> str:
    counts = Counter(record.outcome for record in records)
    return f"{counts['ok']} / {counts['error'] + counts['unknown']} / {counts['aborted']}"


def _load(window: PhaseWindow) -> str:
    return f"{window.spec.arrivals.kind}, {window.spec.concurrency}"


def _rate(speed: Speed) -> str:
    return NO_VALUE if speed.tokens_per_s is None else f"{speed.tokens_per_s:.0f}"
