"""TTFT by source: a prompt counts for the device or the tier only where its tokens came from there."""

from __future__ import annotations

import msgspec
import pytest

from kvchaos.bench.bench_file import Bench, BenchRun, MeasuredPhase, PromptSources
from kvchaos.bench.bench_tables import conclusions, tables
from kvchaos.bench.prompt_sources import measured_phases, source_figures, sources_scenario
from kvchaos.planning.scenario_file import load_scenario
from tests.support import bench_results
from tests.support.bench_results import bench, bench_run

TOKENS = 1000.0
REQUESTS = bench_results.figures().requests


def phase(name: str, ttft_ms: float, device: float = 0.0, tier: float = 0.0) -> MeasuredPhase:
    """A phase of 1,000 prompt tokens, those from the tier at 2 GB/s."""
    sources = PromptSources(
        prompt_tokens=TOKENS,
        device_tokens=device,
        tier_tokens=tier,
        loaded_bytes=tier * 2e6,
        load_s=tier / 1e3,
    )
    return MeasuredPhase(phase=name, rate=None, figures=bench_results.figures(100, ttft_ms), sources=sources)


def run(seed: int, *, tier_tokens: float = 950.0, slower: float = 1.0) -> BenchRun:
    """A run in which a prompt returns from the device 10 times as fast as computed, from the tier 4 times."""
    phases = [
        phase("long-computed", 40 * slower),
        phase("long-device", 4 * slower, device=980.0),
        phase("long-tier", 10 * slower, tier=tier_tokens),
    ]
    return msgspec.structs.replace(bench_run(seed), phases=phases)


def measurement(*runs: BenchRun) -> Bench:
    return bench("sources", list(runs), wanted=[run.seed for run in runs])


def test_gain_of_a_source_is_paired_run_by_run() -> None:
    whole = measurement(*(run(seed, slower=seed) for seed in range(1, 7)))
    computed, device, tier = source_figures(whole)
    assert computed.computed_over is None
    assert device.computed_over is not None
    assert tier.computed_over is not None
    assert (device.computed_over.low, device.computed_over.high) == (10.0, 10.0)
    assert (tier.computed_over.low, tier.computed_over.high) == (4.0, 4.0)
    assert tier.prompt_tokens == TOKENS / REQUESTS


def test_bandwidth_is_that_of_copies_from_the_tier() -> None:
    computed, device, tier = source_figures(measurement(run(1)))
    assert computed.gb_per_s is device.gb_per_s is None
    assert tier.gb_per_s is not None
    assert tier.gb_per_s.median == pytest.approx(2.0)


def test_prompts_that_were_computed_after_all_give_no_result_for_the_tier() -> None:
    *_, tier = source_figures(measurement(run(1), run(2, tier_tokens=300.0)))
    assert tier.share == pytest.approx(0.3)
    assert not tier.is_from_source


def test_source_is_unknown_without_the_counters_of_the_server() -> None:
    first = run(1)
    without = [msgspec.structs.replace(one, sources=None) for one in first.phases]
    figures = list(source_figures(measurement(msgspec.structs.replace(first, phases=without))))
    assert [(each.share, each.is_from_source) for each in figures] == [(None, False)] * 3


def test_run_that_does_not_count_has_no_figures() -> None:
    failed = bench_run(1, why_not="the client was the limit")
    assert list(source_figures(measurement(failed))) == []
    assert tables(measurement(failed)) == []


def test_every_length_of_the_scenario_has_all_sources() -> None:
    names = [phase.name for phase in load_scenario(sources_scenario()).phases]
    lengths = {name.rpartition("-")[0] for name in names}
    wanted = {f"{length}-{source}" for length in lengths for source in ("computed", "device", "tier")}
    assert set(measured_phases(names)) == wanted


def test_bandwidth_is_compared_with_the_bus_where_that_is_known() -> None:
    known = msgspec.structs.replace(measurement(run(1)), bus_gb_per_s=20.0)
    assert "copies from the tier reach 2 GB/s, 10% of the bus" in conclusions(known)
    assert any("bus is unknown" in line for line in conclusions(measurement(run(1))))
