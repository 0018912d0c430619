"""A Grafana of one version, started by the Compose file of this repository."""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import msgspec
import requests
from docker.models.containers import Container

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, state_folder
from kvchaos.stacks.compose.docker_engine import containers_of, docker_errors_named, remove_project
from kvchaos.stacks.compose.images import GRAFANA_VARIABLE
from kvchaos.stacks.compose.project import GRAFANA, Project, environment, owner, project_files
from kvchaos.stacks.process_registry import ProcessRegistry
from tests.grafana.grafana_answers import FOUND_BOARDS, HEALTH, FoundBoard
from tests.grafana.grafana_images import image_of
from tests.support.free_port import free_port

UP_S = 120.0
HEALTHY_S = 180.0
PROVISIONED_S = 60.0
POLL_S = 0.5
CALL_S = 20.0
LOG_LINES = 5


def grafana_project(run_id: str, version: str, prometheus_port: int, grafana_port: int) -> Project:
    """The project of a run, of which Grafana alone is started."""
    return Project(
        name=f"kvchaos-{run_id}",
        # A file without an image for the server is refused.
        files=project_files("cpu"),
        variables={
            GRAFANA_VARIABLE: image_of(version),
            "KVCHAOS_RUN": run_id,
            "KVCHAOS_STATE": str(state_folder(cache_folder())),
            "KVCHAOS_USER": owner(),
            "KVCHAOS_PROMETHEUS_PORT": str(prometheus_port),
            "KVCHAOS_GRAFANA_PORT": str(grafana_port),
        },
        run_overlay={},
        grafana=True,
    )


@contextmanager
def running_grafana(
    client: docker.DockerClient, version: str, prometheus_port: int, folder: Path
) -> Iterator[str]:
    """The URL of a Grafana that is healthy. Its container is removed by label, whatever happens.

    `folder` gets its project and its log. After a SIGKILL, `kvchaos clean` removes the container.
    Raises UsageError.
    """
    run_id = f"grafana-{version}-{secrets.token_hex(3)}"
    port = free_port()
    project = grafana_project(run_id, version, prometheus_port, port)
    file = folder / "compose.yaml"
    file.write_text(project.resolved(), encoding="utf-8")
    registry = ProcessRegistry(
        state_folder(cache_folder()), run_id=run_id, run_dir=folder, control_dir=folder
    )
    with _terminated_as_interrupted():
        registry.add_project(project.name)
        try:
            _up(project.name, file)
            (container,) = containers_of(client, project.name, GRAFANA)
            _wait_until_healthy(container)
            url = f"http://127.0.0.1:{port}"
            check_health(url, version)
            yield url
        finally:
            with docker_errors_named(f"container of {project.name}"):
                for each in containers_of(client, project.name):
                    (folder / "grafana.log").write_bytes(each.logs())
                remove_project(client, project.name)
            registry.drop_project(project.name)
            registry.close()


def check_health(url: str, version: str) -> None:
    """Raises UsageError when Grafana is of another version, or its database does not work."""
    try:
        health = HEALTH.decode(_get(f"{url}/api/health"))
    except msgspec.DecodeError as error:
        raise UsageError(f"{url}/api/health: {error}") from error
    if (health.database, health.version) != ("ok", version):
        raise UsageError(f"{url}: database {health.database}, version {health.version}, not {version}")


def found_boards(url: str, wanted: Collection[str]) -> list[FoundBoard]:
    """All dashboards that this Grafana has, once it has those with these uids or the time is over.

    Grafana is healthy before its search knows all provisioned files. Raises UsageError.
    """
    deadline = time.monotonic() + PROVISIONED_S
    while True:
        try:
            found = FOUND_BOARDS.decode(_get(f"{url}/api/search?type=dash-db"))
        except msgspec.DecodeError as error:
            raise UsageError(f"{url}/api/search: {error}") from error
        if set(wanted) <= {board.uid for board in found} or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def _get(url: str) -> bytes:
    try:
        answer = requests.get(url, timeout=CALL_S)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise UsageError(f"{url}: {error}") from error
    return answer.content


def _up(project: str, file: Path) -> None:
    command = ["docker", "compose", "--project-name", project, "--file", str(file), "--profile", GRAFANA]
    command += ["up", "--detach", "--no-deps", "--no-build", "--pull", "never", GRAFANA]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=UP_S, check=False, env=environment({})
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"docker compose up {GRAFANA}: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise UsageError(f"docker compose up {GRAFANA}: {lines[-1]}")


def _wait_until_healthy(container: Container) -> None:
    deadline = time.monotonic() + HEALTHY_S
    while True:
        with docker_errors_named("the state of Grafana's container"):
            container.reload()
            state = container.attrs["State"]
            log = container.logs(tail=LOG_LINES).decode(errors="replace")
        if state.get("Health", {}).get("Status") == "healthy":
            return
        if state["Status"] != "running" or time.monotonic() > deadline:
            raise UsageError(f"Grafana is {state['Status']}, not healthy: {' / '.join(log.splitlines())}")
        time.sleep(POLL_S)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, so that the container is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
