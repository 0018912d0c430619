"""Tables of a run's history in summary.md: latency by phase, faults by what their requests were doing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from history.latency import Quantiles, latencies
from history.protocol.schedule import State
from history.reader import History, per_history
from history.records import RequestRecord
from kvchaos.report.text_tables import markdown_table
from oracles.faults_fired import is_real
from oracles.views.timeline import by_phase


@dataclass(frozen=True, slots=True)
class PhaseLatency:
    """The good answers of a phase, and how well its requests kept to the schedule. See history/latency.py."""

    phase: str
    arrivals: str
    ok: int
    ttft: Quantiles
    ttft_from_send: Quantiles
    e2el: Quantiles
    e2el_from_send: Quantiles
    client_queued: int
    """Requests that waited in the client, since as many as the phase allows were in flight."""
    schedule_lag: Quantiles
    """Schedule lag of the requests that did not wait in the client: its own delay."""


@per_history
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
        "| phase | arrivals | ok | TTFT | TTFT from send | E2EL | E2EL from send | client queued "
        "| schedule lag |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in phase_latencies(history):
        times = (row.ttft, row.ttft_from_send, row.e2el, row.e2el_from_send)
        cells = (row.phase, row.arrivals, row.ok, *times, row.client_queued, row.schedule_lag)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _latency(phase: str, arrivals: str, records: Sequence[RequestRecord]) -> PhaseLatency:
    times = latencies(records)
    ok = np.fromiter((record.outcome == "ok" for record in records), np.bool_, len(records))
    queued = np.fromiter((record.client_queued for record in records), np.bool_, len(records))
    good = times.of(ok)
    return PhaseLatency(
        phase=phase,
        arrivals=arrivals,
        ok=int(ok.sum()),
        ttft=Quantiles.of(good.ttft),
        ttft_from_send=Quantiles.of(good.ttft_from_send),
        e2el=Quantiles.of(good.e2el),
        e2el_from_send=Quantiles.of(good.e2el_from_send),
        client_queued=int(queued.sum()),
        schedule_lag=Quantiles.of(times.schedule_lag[~queued]),
    )


NOT_KNOWN = "not known"
"""The state is unknown at the injection point, or the fault concerns no single request."""
STATES: tuple[str, ...] = (*get_args(State), NOT_KNOWN)

Grid = Mapping[str, Mapping[str, int]]
"""Strikes by kind of fault and by state. One on a request in two states, such as one that decodes while it
stores, counts in both."""


def coverage(history: History) -> Grid:
    """Effective injections by kind of fault in the plan, kinds that never fired included."""
    grid: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in history.plan.scenario.faults:
        grid[fault.kind].update(())
    for line in history.faults:
        if line.event == "fired" and line.kind is not None and is_real(line):
            grid[line.kind].update(line.states or [NOT_KNOWN])
    return grid


def coverage_text(history: History) -> str:
    """A Markdown table, a row a kind; empty when there is no fault."""
    grid = coverage(history)
    if not grid:
        return ""
    rows = [(kind, *(_cell(counts.get(state, 0)) for state in STATES)) for kind, counts in grid.items()]
    table = markdown_table(("fault", *STATES), rows)
    return f"### Faults that struck, by what the request was doing\n\n{table}"


def _cell(count: int) -> str:
    return str(count or "-")
