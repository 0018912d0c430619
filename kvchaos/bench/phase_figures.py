"""The figures of one measured phase, from the client's records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from history.latency import Quantiles, e2el_ms
from history.records import RequestRecord
from kvchaos.bench.slo import Slo
from oracles.speed import Speed
from oracles.views.timeline import NS_PER_S, end_ns


class PhaseFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast a server was in a phase. Latencies and rates are of its good answers."""

    requests: int
    ok: int
    ttft_ms: Quantiles
    itl_ms: Quantiles
    e2el_ms: Quantiles
    tokens_per_s: float | None
    """Generated tokens, from the first start to the last end."""
    requests_per_s: float | None
    good_share: float | None = None
    """Of all requests: those that hold the SLO. None where none was given."""
    goodput_per_s: float | None = None
    """Requests/s that hold it."""


def phase_figures(speed: Speed, records: Sequence[RequestRecord], slo: Slo | None) -> PhaseFigures:
    """Of a phase with at least one good answer. `records`: all of the phase."""
    seconds = serving_s(speed.ok)
    good = slo.count(records) if slo is not None else None
    return PhaseFigures(
        requests=len(records),
        ok=len(speed.ok),
        ttft_ms=speed.ttft,
        itl_ms=speed.itl,
        e2el_ms=Quantiles.of(map(e2el_ms, speed.ok)),
        tokens_per_s=speed.tokens_per_s,
        requests_per_s=len(speed.ok) / seconds,
        good_share=None if good is None else good / len(records),
        goodput_per_s=None if good is None else good / seconds,
    )


def serving_s(ok: Sequence[RequestRecord]) -> float:
    """From the first start to the last end, as for tokens a second."""
    return (max(map(end_ns, ok)) - min(record.start_ns for record in ok)) / NS_PER_S


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures, as tables name it."""

    name: str
    unit: str
    more_is_better: bool
    of: Callable[[PhaseFigures], float | None]


FIGURES: tuple[Figure, ...] = (
    Figure("TTFT, median", "ms", False, lambda one: one.ttft_ms.median),
    Figure("TTFT, p99", "ms", False, lambda one: one.ttft_ms.p99),
    Figure("ITL, median", "ms", False, lambda one: one.itl_ms.median),
    Figure("ITL, p99", "ms", False, lambda one: one.itl_ms.p99),
    Figure("E2EL, median", "ms", False, lambda one: one.e2el_ms.median),
    Figure("E2EL, p99", "ms", False, lambda one: one.e2el_ms.p99),
    Figure("throughput", "tokens/s", True, lambda one: one.tokens_per_s),
    Figure("requests", "requests/s", True, lambda one: one.requests_per_s),
    Figure("goodput", "requests/s", True, lambda one: one.goodput_per_s),
)
