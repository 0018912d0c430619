"""Synthetic results of benchmarks: figures, runs, whole result files."""

from __future__ import annotations

from collections.abc import Sequence

from history.latency import Quantiles
from kvchaos.bench.bench_file import Bench, BenchRun, Kind, MeasuredPhase, PhaseFigures, Slo


def figures(
    tokens_per_s: float = 100.0, ttft_ms: float = 50.0, good_share: float | None = None
) -> PhaseFigures:
    """The figures of a measured phase, with the latencies in fixed proportion to the TTFT."""
    return PhaseFigures(
        requests=40,
        ok=40,
        ttft_ms=Quantiles(ttft_ms, 3 * ttft_ms),
        itl_ms=Quantiles(8.0, 20.0),
        e2el_ms=Quantiles(400.0, 900.0),
        tokens_per_s=tokens_per_s,
        requests_per_s=tokens_per_s / 10,
        good_share=good_share,
        goodput_per_s=None if good_share is None else good_share * tokens_per_s / 10,
    )


def bench_run(
    seed: int,
    *phases: tuple[float | None, PhaseFigures],
    side: str = "",
    why_not: str | None = None,
) -> BenchRun:
    """One run with a phase for each rate; None: the phase is no open loop."""
    names = [f"rate-{number}" if rate else "load" for number, (rate, _) in enumerate(phases, start=1)]
    rates = [rate for rate, _ in phases]
    return BenchRun(
        run=f"run-{side}-{seed}",
        side=side,
        seed=seed,
        outcome="unknown" if why_not else "as expected",
        why_not=why_not,
        requested=names,
        requested_rates=[rate for rate in rates if rate is not None],
        phases=[]
        if why_not
        else [
            MeasuredPhase(phase=name, rate=rate, figures=one)
            for name, (rate, one) in zip(names, phases, strict=True)
        ],
    )


def bench(
    kind: Kind,
    runs: Sequence[BenchRun],
    *,
    wanted: Sequence[int],
    sides: Sequence[str] = ("",),
    slo: Slo | None = None,
    searched: Sequence[int] = (),
) -> Bench:
    """A stored measurement of these runs."""
    return Bench(
        kind=kind,
        created="2026-11-24T08:00:00+00:00",
        scenario="synthetic",
        phase="load",
        sides=list(sides),
        servers=["0.32.0"] * len(sides),
        chain=1,
        slo=slo,
        host="Linux x86_64, 2 processors",
        kvchaos="0.1.0",
        git="unknown",
        wanted=list(wanted),
        runs=list(runs),
        searched=list(searched),
    )
