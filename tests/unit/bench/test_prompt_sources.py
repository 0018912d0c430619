"""TTFT by source: a prompt counts for the device or the tier only where its tokens came from there."""

from __future__ import annotations

import msgspec
import pytest

from kvchaos.bench.bench_tables import tables
from kvchaos.bench.prompt_sources import measured_phases, source_figures, sources_scenario
from kvchaos.planning.scenario_file import load_scenario
from tests.support.bench_results import bench_run
from tests.support.measured_sources import REQUESTS, TOKENS, source_measurement, source_run


def test_gain_of_a_source_is_paired_run_by_run() -> None:
    whole = source_measurement(*(source_run(seed, slower=seed) for seed in range(1, 7)))
    computed, device, tier = source_figures(whole)
    assert computed.computed_over is None
    assert device.computed_over is not None
    assert tier.computed_over is not None
    assert (device.computed_over.low, device.computed_over.high) == (10.0, 10.0)
    assert (tier.computed_over.low, tier.computed_over.high) == (4.0, 4.0)
    assert tier.prompt_tokens == TOKENS / REQUESTS


def test_bandwidth_is_that_of_copies_from_the_tier() -> None:
    computed, device, tier = source_figures(source_measurement(source_run(1)))
    assert computed.gb_per_s is device.gb_per_s is None
    assert tier.gb_per_s is not None
    assert tier.gb_per_s.median == pytest.approx(2.0)


def test_prompts_that_were_computed_after_all_give_no_result_for_the_tier() -> None:
    *_, tier = source_figures(source_measurement(source_run(1), source_run(2, tier_tokens=300.0)))
    assert tier.share == pytest.approx(0.3)
    assert not tier.is_from_source


def test_source_is_unknown_without_the_counters_of_the_server() -> None:
    first = source_run(1)
    without = [msgspec.structs.replace(one, sources=None) for one in first.phases]
    figures = list(source_figures(source_measurement(msgspec.structs.replace(first, phases=without))))
    assert [(each.share, each.is_from_source) for each in figures] == [(None, False)] * 3


def test_run_that_does_not_count_has_no_figures() -> None:
    failed = bench_run(1, why_not="the client was the limit")
    assert list(source_figures(source_measurement(failed))) == []
    assert tables(source_measurement(failed)) == []


def test_every_length_of_the_scenario_has_all_sources() -> None:
    names = [phase.name for phase in load_scenario(sources_scenario()).phases]
    lengths = {name.rpartition("-")[0] for name in names}
    wanted = {f"{length}-{source}" for length in lengths for source in ("computed", "device", "tier")}
    assert set(measured_phases(names)) == wanted
