"""How long requests took, phase by phase: from their real start, and from when they were due.

A server that freezes holds back the client too, which then starts fewer requests: from the real start that
looks like few slow ones. From the intended start every request counts that should have been sent meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from history.once import once
from history.percentile import Spread
from history.reader import History
from history.records import RequestRecord
from oracles.timeline import by_phase

NS_PER_MS = 1e6
US_PER_MS = 1e3


@dataclass(frozen=True, slots=True)
class PhaseLatency:
    """The good answers of a phase, and how well its requests started when they were due."""

    phase: str
    arrivals: str
    ok: int
    ttft: Spread
    ttft_intended: Spread
    total: Spread
    total_intended: Spread
    held: int
    """Requests that had to wait, since as many as the phase allows were in flight."""
    late: Spread
    """Start after the intended start, of those that were not held: the client's own delay."""


@once
def phase_latencies(history: History) -> Sequence[PhaseLatency]:
    """One entry for every phase that began."""
    return [
        _latency(window.spec.name, window.spec.arrivals.kind, by_phase(history).get(window.spec.name, []))
        for window in history.phases()
    ]


def latency_text(history: History) -> str:
    """A Markdown table of median and 99th percentile, ms."""
    lines = [
        "### Latency, ms (median / 99th percentile)",
        "",
        "| phase | arrivals | ok | TTFT | from when due | total | from when due | held | start late |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in phase_latencies(history):
        times = (row.ttft, row.ttft_intended, row.total, row.total_intended)
        cells = (row.phase, row.arrivals, row.ok, *times, row.held, row.late)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _latency(phase: str, arrivals: str, records: Sequence[RequestRecord]) -> PhaseLatency:
    good = [record for record in records if record.outcome == "ok"]
    late = _column(record.start_ns - record.intended_ns for record in good) / NS_PER_MS
    total = _column(record.end_us for record in good) / US_PER_MS
    begun = [record.first_us is not None for record in good]
    first = _column(record.first_us for record in good if record.first_us is not None) / US_PER_MS
    return PhaseLatency(
        phase=phase,
        arrivals=arrivals,
        ok=len(good),
        ttft=Spread.of(first),
        ttft_intended=Spread.of(late[begun] + first),
        total=Spread.of(total),
        total_intended=Spread.of(late + total),
        held=sum(record.held for record in records),
        late=Spread.of(late_ms(record) for record in records if not record.held),
    )


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


def late_ms(record: RequestRecord) -> float:
    """How long after its intended start a request really started."""
    return (record.start_ns - record.intended_ns) / NS_PER_MS
