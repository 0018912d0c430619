"""Synthetic measurements of prompts by source: computed, from the device, from the CPU tier."""

from __future__ import annotations

import msgspec

from kvchaos.bench.bench_file import Bench, BenchRun, MeasuredPhase, PromptSources
from tests.support import bench_results
from tests.support.bench_results import bench, bench_run

TOKENS = 1000.0
REQUESTS = bench_results.figures().requests


def source_phase(name: str, ttft_ms: float, device: float = 0.0, tier: float = 0.0) -> MeasuredPhase:
    """A phase of 1,000 prompt tokens, those from the tier at 2 GB/s."""
    sources = PromptSources(
        prompt_tokens=TOKENS,
        device_tokens=device,
        tier_tokens=tier,
        loaded_bytes=tier * 2e6,
        load_s=tier / 1e3,
    )
    return MeasuredPhase(phase=name, rate=None, figures=bench_results.figures(100, ttft_ms), sources=sources)


def source_run(seed: int, *, tier_tokens: float = 950.0, slower: float = 1.0) -> BenchRun:
    """A run in which a prompt returns from the device 10 times as fast as computed, from the tier 4 times."""
    phases = [
        source_phase("long-computed", 40 * slower),
        source_phase("long-device", 4 * slower, device=980.0),
        source_phase("long-tier", 10 * slower, tier=tier_tokens),
    ]
    return msgspec.structs.replace(bench_run(seed), phases=phases)


def source_measurement(*runs: BenchRun) -> Bench:
    """A measurement of these runs."""
    return bench("sources", list(runs), wanted=[run.seed for run in runs])
