"""Real containers: they come up, go down and are removed, and nothing of them is left, whatever happens."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import docker
import pytest

from history import layout
from kvchaos.paths import state_folder
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.prometheus.program import ScrapeTargets, write_config
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.compose.compose_stack import ComposeStack
from kvchaos.stacks.compose.prepare_project import prepare_compose
from kvchaos.stacks.compose.project import STATE_LABEL
from kvchaos.stacks.prepare_server import LaunchRequest
from kvchaos.stacks.process_registry import ProcessRegistry
from tests.compose.engine import NOTHING, ids_of, traces_of
from tests.server.bench import NEW, Bench, wait_for

pytestmark = pytest.mark.compose
SCENARIO = "legal-swarm"
ROUNDS = int(os.environ.get("KVCHAOS_UP_AND_DOWN", "2"))


class Life:
    """A stack on a record of its own, as a run has it."""

    def __init__(self, bench: Bench, image: ServerEnv, name: str, *, grafana: bool = False) -> None:
        self.run_dir = bench.runs / name
        self.run_dir.mkdir(parents=True)
        self.state = state_folder(bench.cache)
        self.record = ProcessRegistry(
            self.state, run_id=name, run_dir=self.run_dir, control_dir=self.run_dir / layout.CONTROL
        )
        settings = load_scenario(find_scenario(SCENARIO)).server
        request = LaunchRequest(image, settings, name, self.run_dir, bench.cache, grafana=grafana)
        self.prepared = prepare_compose(request, self.record)
        write_config(
            self.run_dir / layout.PROMETHEUS_FOLDER, name, ScrapeTargets("127.0.0.1:1", "127.0.0.1:1")
        )
        assert isinstance(self.prepared.stack, ComposeStack)
        self.stack = self.prepared.stack

    def end(self) -> None:
        self.stack.stop(grace_s=0)
        self.record.close()


def wait_until_gone(engine: docker.DockerClient, state: Path, containers: set[str]) -> None:
    """The engine's own helpers of a container end a moment after it."""
    wait_for(lambda: traces_of(engine, state, containers) == NOTHING)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_repeated_up_and_down_leaves_no_docker_objects(
    bench: Bench, image: ServerEnv, engine: docker.DockerClient
) -> None:
    for number in range(ROUNDS):
        life = Life(bench, image, f"up-and-down-{number}")
        life.stack.start()
        made = ids_of(engine, life.state)
        assert len(made) == 2
        assert life.stack.alive()
        life.end()
        assert life.stack.exit_code() is not None
        wait_until_gone(engine, life.state, made)
        assert list(life.state.iterdir()) == []
        assert is_free(life.stack.launch.port)
        actions = {(event.service, event.action) for event in life.stack.container_events()}
        assert {("server", "start"), ("server", "die"), ("prometheus", "start")} <= actions


def test_killed_container_server_reports_its_exit_code_and_restarts(bench: Bench, image: ServerEnv) -> None:
    life = Life(bench, image, "lives")
    try:
        life.stack.start()
        first = life.stack.identity()
        life.stack.container.kill("SIGKILL")
        wait_for(lambda: not life.stack.alive())
        assert life.stack.exit_code() == -9
        life.stack.start()
        assert (life.stack.alive(), life.stack.exit_code()) == (True, None)
        second = life.stack.identity()
        assert first.container == second.container
        assert 0 != second.pid != first.pid
    finally:
        life.end()


def test_kept_containers_are_removed_by_clean_and_by_the_next_run(
    bench: Bench, image: ServerEnv, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of Grafana only that it is a container: its image cannot be had everywhere.
    monkeypatch.setenv("KVCHAOS_GRAFANA_IMAGE", "python:3.11-slim-trixie")
    for number in range(2):
        life = Life(bench, image, f"kept-{number}", grafana=True)
        life.stack.start()
        life.end()
        states = {
            container.labels["com.docker.compose.service"]: container.status
            for container in engine.containers.list(
                all=True, filters={"label": f"{STATE_LABEL}={life.state}"}
            )
        }
        # Those of the run before are gone.
        assert states.keys() == {"server", "prometheus", "grafana"}
        assert (states["server"], states["prometheus"]) == ("exited", "running")
        assert list(life.state.iterdir()) == []
    cleaned = bench.run("clean")
    assert cleaned.code == 0
    assert cleaned.out.count("removed container kvchaos-kept-1-") == 3
    assert traces_of(engine, life.state, set()) == NOTHING


def test_clean_removes_only_containers_of_a_killed_conductor(
    bench: Bench, image: ServerEnv, engine: docker.DockerClient
) -> None:
    stranger = engine.containers.run(
        "python:3.11-slim-trixie", ["sleep", "600"], detach=True, labels={STATE_LABEL: "somebody else's"}
    )
    command = bench.start("run", SCENARIO, "--stack", "compose-cpu", "--server", NEW)
    try:
        run = command.wait_for_event("server_start")
        project = f"kvchaos-{run.path.name}"
        (server,) = engine.containers.list(filters={"name": f"{project}-server"})
        server.pause()
        state = state_folder(bench.cache)
        made = ids_of(engine, state)
        command.process.kill()
        command.process.communicate()

        cleaned = bench.run("clean")
        assert (cleaned.code, cleaned.err) == (0, "")
        for line in (
            f"run {run.path.name} ({run.path}) was killed",
            f"  unpaused container {project}-server-1",
            f"  removed container {project}-server-1",
            f"  removed container {project}-prometheus-1",
        ):
            assert line in cleaned.out.splitlines()
        wait_until_gone(engine, state, made)
        stranger.reload()
        assert stranger.status == "running"
        again = bench.run("clean")
        assert (again.code, len(again.out.splitlines()), again.err) == (0, 1, "")
    finally:
        command.process.kill()
        command.process.communicate()
        stranger.remove(force=True)
