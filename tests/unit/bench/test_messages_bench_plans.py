"""What a measurement that cannot be planned is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.scenario import Scenario
from kvchaos.bench.bench_scenarios import at_rates, bench_scenario, side_of, with_settings
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import load_scenario
from tests.support.fake_server_runs import scenario, write_scenario


@pytest.fixture
def small(tmp_path: Path) -> Scenario:
    return load_scenario(write_scenario(tmp_path / "small.yaml", scenario()))


def test_unknown_phase_is_answered_with_the_known_ones(small: Scenario) -> None:
    with pytest.raises(UsageError, match="no phase noon; there are golden, load, fresh"):
        bench_scenario(small, "noon")


def test_faults_of_a_scenario_without_any_are_refused(small: Scenario) -> None:
    with pytest.raises(UsageError, match="small: has no faults; choose one that has, or leave out faults=on"):
        bench_scenario(small, None, with_faults=True)


def test_trace_too_short_for_the_rates_is_named(tmp_path: Path) -> None:
    content = scenario()
    params = {"path": str(Path("scenarios/traces/own-sample.jsonl").resolve()), "format": "own"}
    content["workloads"]["fresh"] = {"kind": "trace", "params": params}
    given = load_scenario(write_scenario(tmp_path / "small.yaml", content))
    with pytest.raises(UsageError, match=r"small: phases\.rate-1: fresh ends after 200 requests"):
        at_rates(bench_scenario(given, None), [50.0], seconds=5)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("gpu_blocks=many", r"server\.gpu_blocks: Input should be a valid integer"),
        ("gpu_blocks=4", "can never fit"),
    ],
)
def test_invalid_setting_is_refused_before_the_start(small: Scenario, setting: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        with_settings(bench_scenario(small, None), side_of([setting]))
