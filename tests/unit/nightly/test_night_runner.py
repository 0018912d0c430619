"""A night measures what its file says, confirms at once, stops at its budget, and keeps what it measured."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from kvchaos.bench.bench_scenarios import bench_scenario
from kvchaos.nightly.detection_power import NO_NOISE
from kvchaos.nightly.night_records import NightPoint
from kvchaos.nightly.night_runner import EarlierNights, NightRunner, NightSetup
from kvchaos.nightly.nightly_file import NightlyFile, NightMeasurement
from kvchaos.paths import Workspace
from kvchaos.planning.scenario_file import load_scenario
from tests.support.fake_server_runs import register_fake, scenario, write_scenario
from tests.support.scripted_measurements import ScriptedRuns, script_measurements


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> ScriptedRuns:
    return script_measurements(monkeypatch)


def night_of(folder: Path, budget_s: float = 3600.0, accepted: float = 0.0) -> NightRunner:
    measurement = NightMeasurement(scenario="small", watch={"ttft-median": 0.03, "throughput": 0.03})
    base = bench_scenario(load_scenario(write_scenario(folder / "small.yaml", scenario())), "load")
    setup = NightSetup(
        file=NightlyFile(measurements=(measurement,)),
        scenarios=[base],
        candidate=register_fake(folder / "cache-candidate", name="candidate"),
        control=register_fake(folder / "cache-control", name="control"),
        kind="comparison",
        budget_s=budget_s,
        workspace=Workspace(cache=folder / "cache", runs=folder / "runs", port=None),
    )
    levels = {"small/load/ttft-median": accepted}
    earlier = EarlierNights(
        lambda series, identity: levels.get(series, 0.0), lambda series, identity: NO_NOISE
    )
    return NightRunner(setup, earlier, Console(file=io.StringIO()))


def point(night: NightRunner, series: str) -> NightPoint:
    return next(each for each in night.points if each.series == series)


def test_equal_builds_take_the_pairs_of_the_screen_only(tmp_path: Path, runs: ScriptedRuns) -> None:
    night = night_of(tmp_path)
    line = night.run()
    assert len(runs.measured) == 12
    assert line.complete
    found = point(night, "small/load/ttft-median")
    assert found.role == "watch"
    assert found.decision is not None
    assert found.decision.result == "same"
    assert (len(found.screen), found.confirm) == (6, [])


def test_slower_candidate_is_confirmed_with_fresh_seeds_at_once(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.slow, runs.noise = {"candidate": 1.05}, 5.0
    night = night_of(tmp_path)
    line = night.run()
    seeds = [seed for side, seed in runs.measured if side == "candidate"]
    assert len(seeds) == len(set(seeds)) == 24
    found = point(night, "small/load/ttft-median")
    assert found.decision is not None
    assert found.decision.result == "regressed"
    assert found.decision.slowdown == pytest.approx(0.0488, abs=0.02)
    assert [pair.stage for pair in line.measured[0].pairs] == ["screen"] * 6 + ["confirm"] * 18


def test_confirmation_of_a_large_step_ends_early(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.slow = {"candidate": 2.0}
    night = night_of(tmp_path)
    line = night.run()
    assert line.complete
    assert [pair.stage for pair in line.measured[0].pairs] == ["screen"] * 6 + ["confirm"] * 8
    found = point(night, "small/load/ttft-median").decision
    assert found is not None
    assert found.result == "regressed"
    assert found.slowdown == pytest.approx(0.693, abs=0.005)


def test_other_series_of_a_confirmation_stay_same(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.slow = {"candidate": 1.1}
    night = night_of(tmp_path)
    night.run()
    found = point(night, "small/load/throughput").decision
    assert found is not None
    assert found.result == "same"


def test_context_has_pairs_and_no_decision(tmp_path: Path, runs: ScriptedRuns) -> None:
    night = night_of(tmp_path)
    night.run()
    found = point(night, "small/load/itl-p99")
    assert (found.role, found.decision, found.least_step) == ("context", None, None)


def test_accepted_slowdown_needs_no_confirmation(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.slow = {"candidate": 1.1}
    night = night_of(tmp_path, accepted=0.0953)
    night.run()
    assert len(runs.measured) == 12
    found = point(night, "small/load/ttft-median").decision
    assert found is not None
    assert found.result == "same"


def test_sides_alternate_within_the_night(tmp_path: Path, runs: ScriptedRuns) -> None:
    night_of(tmp_path).run()
    first = [side for side, _ in runs.measured[::2]]
    assert first == ["control", "candidate", "candidate", "control", "control", "candidate"]


def test_side_that_fails_twice_ends_its_measurement(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.failing = "candidate"
    night = night_of(tmp_path)
    line = night.run()
    assert len(runs.measured) == 4
    assert not line.complete
    assert len(line.measured[0].excluded) == 2
    assert night.points == []


def test_signal_keeps_the_pairs_so_far(tmp_path: Path, runs: ScriptedRuns) -> None:
    runs.interrupt_at = 8
    night = night_of(tmp_path)
    line = night.run()
    assert night.interrupted
    assert not line.complete
    assert len(line.measured[0].pairs) == 4
    found = point(night, "small/load/ttft-median").decision
    assert found is not None
    assert (found.result, found.reason) == ("blind", "pairs missing")
