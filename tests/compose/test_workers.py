"""Load workers in real containers share a run as those of this machine do."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import yaml

from history.reader import read_history
from kvchaos.servers.releases import find_release
from kvchaos.stacks.compose.images import build_variables
from kvchaos.stacks.compose.project import environment, owner, project_files
from tests.server.bench import NEW
from tests.support.fake_server_runs import Bench, finished, scenario
from tests.support.free_port import free_port

pytestmark = pytest.mark.compose
WORKERS = 3
BUILD_S = 540.0
PORT = free_port()
PROJECT = f"kvchaos-test-workers-{os.getpid()}"
"""Of this process alone."""


def compose(*arguments: str) -> str:
    """Raises AssertionError with what Compose said."""
    variables = {
        **build_variables(find_release(NEW)),
        "KVCHAOS_USER": owner(),
        "KVCHAOS_WORKERS": str(WORKERS),
        "KVCHAOS_MASTER": f"127.0.0.1:{PORT}",
    }
    command = ["docker", "compose", "--file", str(project_files("workers")[1])]
    command += ["--project-name", PROJECT, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=BUILD_S, env=environment(variables)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def workers(engine: docker.DockerClient) -> Iterator[None]:
    """They wait for a run, up to the end of the test."""
    compose("build")
    try:
        compose("up", "--detach")
        yield
    finally:
        compose("down")


def test_compose_scales_workers_by_the_variable(
    engine: docker.DockerClient,
) -> None:
    project = yaml.safe_load(compose("config"))
    worker = project["services"]["worker"]
    assert worker["deploy"]["replicas"] == WORKERS
    assert worker["command"] == ["--master", f"127.0.0.1:{PORT}"]


@pytest.mark.usefixtures("workers")
def test_workers_in_containers_send_each_request_of_a_run_once_and_wait_for_the_next(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    bench = Bench(tmp_path)
    options = ("--workers", str(WORKERS), "--listen", str(PORT))
    code, out, err = finished(bench.start(scenario("--fake-token-s", "0.01", load=60), *options))
    assert (code, err) == (0, ""), out
    history = read_history(bench.run_dir())
    phases = history.plan.scenario.phases
    planned = [
        f"{phase.name}-{n}" for phase in phases for n in range(phase.first, phase.first + phase.requests)
    ]
    sent = [record for record in history.requests if record.phase != "probe"]
    assert Counter(record.id for record in sent) == Counter(planned)
    assert {record.worker for record in sent} == set(range(WORKERS))
    ours = engine.containers.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
    assert len(ours) == WORKERS
    compose("stop")
    for container in ours:
        container.reload()
        # Not killed: it left when it was asked to.
        assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 0)
