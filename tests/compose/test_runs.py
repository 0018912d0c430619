"""Runs in real containers are judged like any other, whatever strikes the containers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import docker
import pytest

from history.events import CleanState, ContainerAction, FaultsHealed, ServerStart
from history.records import FaultRecord
from kvchaos.paths import state_folder
from kvchaos.servers.server_registry import ServerEnv
from oracles.views.struck_requests import reverting_line
from tests.compose.engine import NOTHING, traces_of
from tests.server.bench import COMMAND_S, NEW, SEED, Bench, Finished, RunDir, own_cache

pytestmark = [pytest.mark.compose, pytest.mark.timeout(2 * COMMAND_S + 100)]
INSIDE = "legal-swarm"
STRUCK = {
    "kill-and-restart": "kill",
    "cpu-squeeze": "cpu_squeeze",
    "memory-squeeze": "memory_squeeze",
    "prometheus-lost": "prometheus_kill",
}
"""Scenarios, and the fault of each."""
INCARNATIONS = {"kill-and-restart": 2, "memory-squeeze": 2}
SHARING = ("cpu-squeeze", "memory-squeeze")
"""Two with equal server settings, in the order of the campaign."""
UP = ["create", "start", "health_status: healthy"]


@pytest.fixture(scope="module")
def campaign_bench(tmp_path_factory: pytest.TempPathFactory, image: ServerEnv) -> Bench:
    folder = tmp_path_factory.mktemp("runs")
    return Bench(folder, own_cache(folder))


@pytest.fixture(scope="module")
def campaign(campaign_bench: Bench) -> Finished:
    """All of them by one command."""
    where = ("--stack", "compose-cpu", "--server", NEW, "--seed", str(SEED))
    return campaign_bench.run("run", INSIDE, *STRUCK, *where, deadline_s=2 * COMMAND_S)


def of(campaign: Finished, scenario: str) -> RunDir:
    (run,) = (run for run in campaign.runs() if run.scenario == scenario)
    return run


def actions_of(run: RunDir, service: str) -> list[ContainerAction]:
    events = run.history.events_of(ContainerAction)
    return [event.data for event in events if event.data.service == service]


def test_container_campaign_passes_and_leaves_no_docker_objects(
    campaign: Finished, campaign_bench: Bench, engine: docker.DockerClient
) -> None:
    assert campaign.code == 0, campaign.out
    assert traces_of(engine, state_folder(campaign_bench.cache), set()) == NOTHING


@pytest.mark.parametrize("scenario", [INSIDE, *STRUCK])
def test_every_oracle_passes_including_the_metrics_crosscheck(campaign: Finished, scenario: str) -> None:
    run = of(campaign, scenario)
    verdicts = {result.oracle: result.verdict for result in run.verdict.results}
    assert set(verdicts.values()) == {"pass"}, verdicts
    assert {
        "metrics-crosscheck",
        "resources",
        "faults-fired",
        "counters",
        "accounting",
        "answers",
    } <= verdicts.keys()


@pytest.mark.parametrize(("scenario", "kind"), STRUCK.items())
def test_each_container_strike_is_proved_and_reverted(campaign: Finished, scenario: str, kind: str) -> None:
    history = of(campaign, scenario).history
    fired: list[FaultRecord] = [line for line in history.faults if line.event == "fired"]
    assert {line.kind for line in fired} == {kind}
    assert all(reverting_line(history, line) is not None for line in fired)
    assert [event.data.confirmed for event in history.events_of(FaultsHealed)] == [True]


@pytest.mark.parametrize("scenario", [INSIDE, *STRUCK])
def test_counters_reset_once_per_incarnation(campaign: Finished, scenario: str) -> None:
    history = of(campaign, scenario).history
    incarnations = INCARNATIONS.get(scenario, 1)
    assert len(history.events_of(ServerStart)) == incarnations
    assert len(set(history.metrics.incarnations)) == incarnations
    assert len(set(history.prometheus.incarnations)) == incarnations


def test_run_records_container_events_and_leaves_user_owned_files(campaign: Finished) -> None:
    run = of(campaign, INSIDE)
    assert run.history.plan.stack == "compose-cpu"
    assert run.history.plan.versions.vllm == NEW
    actions = actions_of(run, "server")
    assert [action.action for action in actions] == [*UP, "kill", "stop", "die"]
    assert all(action.at_ns < time.time_ns() for action in actions)
    assert len(run.history.resources) > 5
    files: list[Path] = [path for path in run.path.rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in files} == {os.getuid()}
    assert (run.path / "prometheus.log").stat().st_size > 0


def test_a_container_that_was_proved_clean_serves_the_next_run(campaign: Finished) -> None:
    one, two = (of(campaign, scenario) for scenario in SHARING)
    assert [action.action for action in actions_of(one, "server")] == UP
    assert one.event(CleanState).data == CleanState(clean=True, objections=[])
    assert two.history.plan.preceded_by == (one.path.name,)
    first, second = one.event(ServerStart).data, two.history.events_of(ServerStart)[0].data
    assert second.kept is True
    assert (second.container, second.pid) == (first.container, first.pid)
    for run in (one, two):
        files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*")}
        assert {"compose.yaml", "compose.log", "prometheus/prometheus.yml", "prometheus/data"} <= files


def test_each_container_run_has_a_separate_prometheus(campaign: Finished) -> None:
    one, two = (actions_of(of(campaign, scenario), "prometheus") for scenario in SHARING)
    containers = [{action.container for action in actions} for actions in (one, two)]
    assert [len(each) for each in containers] == [1, 1]
    assert containers[0] != containers[1]
    assert one[-1].action == "destroy"
