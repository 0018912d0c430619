"""The highest rate that holds an SLO, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kvchaos.bench.bench_file import Bench, BenchRun

MAX_PROBES = 12
MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Bracket:
    """What one search has found: rates, arrivals/s."""

    seed: int
    holds: float | None
    """The highest rate that met the SLO; None when none did."""
    fails: float | None
    """The lowest rate that did not; None when all did."""


def bisect(holds: Callable[[float], bool], low: float, high: float, precision: float) -> None:
    """Try rates until the highest that holds is known to this share of itself.

    `low` is taken to hold and not tried. `high` is tried first, and doubled while it holds; where it never
    fails the search is over.
    """
    for _ in range(MAX_DOUBLINGS):
        if not holds(high):
            break
        low, high = high, 2 * high
    else:
        return
    for _ in range(MAX_PROBES):
        if high - low <= precision * high:
            return
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle


def slo_met(bench: Bench, run: BenchRun) -> bool | None:
    """Whether a probe met the SLO; None when it does not count."""
    if bench.slo is None or run.why_not is not None:
        return None
    shares = [phase.figures.good_share for phase in run.phases]
    return all(share is not None and share >= bench.slo.share for share in shares)


def brackets(bench: Bench) -> list[Bracket]:
    """One for each search that came to its end, every rate that it tried measured."""
    return [_bracket(seed, bench) for seed in bench.searched if _is_complete(seed, bench)]


def _is_complete(seed: int, bench: Bench) -> bool:
    """The last run of each rate counts."""
    last = {tuple(run.asked_rates): run.why_not for run in bench.runs if run.seed == seed}
    return all(why_not is None for why_not in last.values())


def _bracket(seed: int, bench: Bench) -> Bracket:
    tried: dict[bool, list[float]] = {True: [], False: []}
    for run in bench.runs:
        met = slo_met(bench, run)
        if run.seed == seed and met is not None:
            tried[met].extend(run.asked_rates)
    return Bracket(seed, max(tried[True], default=None), min(tried[False], default=None))
