"""What is measured must be what the scenario says, and what was asked to differ must be all that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from history.phase_spec import Closed, Poisson
from history.scenario import Scenario
from kvchaos.bench.bench_scenarios import (
    CLIENT_MS,
    BenchScenario,
    at_rates,
    bench_scenario,
    closed_loop,
    side_of,
    with_settings,
)
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from tests.support.fake_server_runs import scenario, write_scenario


@pytest.fixture
def small(tmp_path: Path) -> Scenario:
    return load_scenario(write_scenario(tmp_path / "small.yaml", scenario()))


def with_chat(folder: Path, **phase: Any) -> Scenario:
    content = scenario()
    content["workloads"]["talk"] = {"kind": "chat", "params": {"turns": 3, "max_output": 16}}
    content["phases"][2] = {
        "name": "talk",
        "role": "load",
        "workload": "talk",
        "requests": 6,
        "concurrency": 2,
        **phase,
    }
    return load_scenario(write_scenario(folder / "chat.yaml", content))


def test_last_load_phase_is_measured_and_earlier_phases_stay(small: Scenario) -> None:
    base = bench_scenario(small, None)
    assert base.phase.name == "fresh"
    assert base.scenario.phases == small.phases


def test_named_phase_is_measured_and_later_phases_are_dropped(small: Scenario) -> None:
    base = bench_scenario(small, "load")
    assert [phase.name for phase in base.scenario.phases] == ["golden", "load"]
    assert set(base.scenario.workloads) == {"shared"}


def test_a_scenario_with_faults_is_refused() -> None:
    with pytest.raises(UsageError, match="evict-storm"):
        bench_scenario(load_scenario(find_scenario("evict-storm")), None)


def test_chaos_and_audit_are_off_in_measurements() -> None:
    base = bench_scenario(load_scenario(find_scenario("baseline-offload")), None)
    server = base.scenario.server
    assert (server.offload, server.chaos, server.audit) == (True, False, False)


def test_default_client_limits_apply_without_scenario_limits(small: Scenario) -> None:
    client = bench_scenario(small, None).scenario.limits.client
    assert (client.event_loop_lag_ms, client.schedule_lag_ms, client.schedule_lag_median_ms) == (
        CLIENT_MS,
        CLIENT_MS,
        CLIENT_MS,
    )


def test_scenario_limits_override_the_defaults(tmp_path: Path) -> None:
    content = scenario()
    content["limits"]["client"] = {"schedule_lag_ms": 400.0}
    given = load_scenario(write_scenario(tmp_path / "small.yaml", content))
    client = bench_scenario(given, None).scenario.limits.client
    assert (client.event_loop_lag_ms, client.schedule_lag_ms) == (CLIENT_MS, 400.0)


def test_each_rate_is_a_phase_with_separate_requests(small: Scenario) -> None:
    rated = at_rates(bench_scenario(small, "load"), [0.5, 2.0], seconds=9)
    _, slow, fast = rated.scenario.phases
    assert (slow.requests, slow.first) == (5, 4)
    assert (fast.requests, fast.first) == (18, 9)
    assert slow.arrivals == Poisson(kind="poisson", rate=0.5)
    assert fast.arrivals == Poisson(kind="poisson", rate=2.0)


def test_a_rate_counts_conversations(tmp_path: Path) -> None:
    rated = at_rates(bench_scenario(with_chat(tmp_path), None), [2.0], seconds=5)
    assert rated.chain == 3
    assert rated.phase.requests == 30


def test_a_closed_loop_is_the_phase_without_its_schedule(tmp_path: Path) -> None:
    given = with_chat(tmp_path, arrivals={"kind": "poisson", "rate": 3.0})
    base = closed_loop(bench_scenario(given, None))
    assert base.phase.arrivals == Closed()
    assert base.phase.requests == 6


def test_compared_sides_differ_only_in_the_given_settings() -> None:
    base = bench_scenario(load_scenario(find_scenario("baseline-offload")), None)
    other = with_settings(base, side_of(["gpu_blocks=80"]))
    assert other.scenario.server.gpu_blocks == 80
    same = {**other.scenario.server.model_dump(), "gpu_blocks": 40}
    assert same == base.scenario.server.model_dump()


def test_offload_off_disables_all_offload_settings() -> None:
    base = bench_scenario(
        load_scenario(find_scenario("sharers-of-a-failed-prefix")).model_copy(update={"faults": ()}), "golden"
    )
    assert base.scenario.server.sync_loads
    assert base.scenario.server.chaos
    off = with_settings(base, side_of(["offload=off"])).scenario.server
    assert (off.offload, off.sync_loads, off.chaos) == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["offload"], "write name=value, with a name of server, url, faults, gpu_blocks"),
        (["speed=9"], "write name=value, with a name of server, url, faults, gpu_blocks"),
        (["gpu_blocks=40", "gpu_blocks=50"], "gpu_blocks was given before"),
        (["server=a", "server=b"], "server was given before"),
        (["faults=on", "faults=off"], "faults was given before"),
        (["faults=3"], "write faults=on or faults=off"),
        (["url=http://127.0.0.1:8000", "gpu_blocks=40"], "are fixed; give its url alone"),
        (["gpu_blocks=[[1]]"], "is no value"),
        (["gpu_blocks=[1"], "is no value"),
        (["gpu_blocks="], "is no value"),
    ],
)
def test_side_without_settings_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem.replace("[", r"\[")):
        side_of(arguments)


def test_side_settings_are_parsed_like_a_scenario_file() -> None:
    side = side_of(["server=nightly", "offload=off", "extra_args=[--seed, '1']"])
    assert side.server == "nightly"
    assert side.settings == {"offload": False, "extra_args": ["--seed", "1"]}


def test_phase_requirements_do_not_end_a_measurement() -> None:
    """Rates have phases of their own, and without offloading there are no hits to require."""
    base = bench_scenario(load_scenario(find_scenario("baseline-offload")), "load")
    assert at_rates(base, [2.0], seconds=5).scenario.requires == ()
    assert with_settings(base, side_of(["offload=off"])).scenario.requires == ()


@pytest.fixture
def faulty() -> BenchScenario:
    return bench_scenario(load_scenario(find_scenario("load-failure-recompute")), None, with_faults=True)


def test_faults_are_measured_in_the_phase_in_which_they_live(faulty: BenchScenario) -> None:
    assert (faulty.phase.name, faulty.phase.role) == ("chaos", "chaos")
    server = with_settings(faulty, side_of(["faults=on"])).scenario.server
    assert (server.chaos, server.ledger, server.audit) == (True, True, False)


def test_side_without_faults_has_the_same_phases_and_no_chaos_module(faulty: BenchScenario) -> None:
    without = with_settings(faulty, side_of(["faults=off"])).scenario
    assert without.phases == faulty.scenario.phases
    assert without.faults == ()
    assert not without.server.chaos


def test_faults_live_at_each_rate_under_an_id_of_its_own(faulty: BenchScenario) -> None:
    rated = at_rates(faulty, [1.0, 2.0], seconds=5)
    assert [(fault.id, fault.phase) for fault in rated.scenario.faults] == [
        ("failed-load-rate-1", "rate-1"),
        ("failed-load-rate-2", "rate-2"),
    ]
