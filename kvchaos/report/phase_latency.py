"""How long requests took, phase by phase: from the scheduled time, and from the send time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from history.latency import e2el_from_send_ms, e2el_ms, schedule_lag_ms, ttft_from_send_ms, ttft_ms
from history.memo import per_history
from history.percentile import Quantiles
from history.reader import History
from history.records import RequestRecord
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
    """Of the requests that did not wait in the client: its own delay."""


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
        "| phase | arrivals | ok | TTFT | TTFT from send | E2EL | E2EL from send | held | schedule lag |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in phase_latencies(history):
        times = (row.ttft, row.ttft_from_send, row.e2el, row.e2el_from_send)
        cells = (row.phase, row.arrivals, row.ok, *times, row.client_queued, row.schedule_lag)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _latency(phase: str, arrivals: str, records: Sequence[RequestRecord]) -> PhaseLatency:
    good = [record for record in records if record.outcome == "ok"]
    return PhaseLatency(
        phase=phase,
        arrivals=arrivals,
        ok=len(good),
        ttft=_quantiles(map(ttft_ms, good)),
        ttft_from_send=_quantiles(map(ttft_from_send_ms, good)),
        e2el=_quantiles(map(e2el_ms, good)),
        e2el_from_send=_quantiles(map(e2el_from_send_ms, good)),
        client_queued=sum(record.held for record in records),
        schedule_lag=_quantiles(schedule_lag_ms(record) for record in records if not record.held),
    )


def _quantiles(times: Iterable[float | None]) -> Quantiles:
    return Quantiles.of(time for time in times if time is not None)
