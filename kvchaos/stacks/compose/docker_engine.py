"""Containers of ours in the Docker engine: found, watched by their events, and removed."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from history.events import ContainerAction
from kvchaos.errors import UsageError
from kvchaos.stacks.compose.project import RUN_LABEL, STATE_LABEL

UNIX = "unix://"
DEFAULT = f"{UNIX}/var/run/docker.sock"
CLI_TIMEOUT_S = 20.0
CALL_S = 60
FIX = "start it (sudo systemctl start docker), and be in the group docker"
DOCKER_ERRORS = (DockerException, requests.RequestException)
"""What the SDK raises when the engine refuses, or does not answer."""


def connect() -> docker.DockerClient:
    """Raises UsageError when no engine answers, or it is not on this machine."""
    address = _address()
    if not address.startswith(UNIX):
        raise UsageError(f"the Docker engine at {address} is not on this machine: folders cannot be shared")
    try:
        # Before the SDK does, which leaves a socket open when nobody answers.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix(UNIX))
        # Asks which version of its interface the engine speaks.
        return docker.DockerClient(base_url=address, version="auto", timeout=CALL_S)
    except (OSError, *DOCKER_ERRORS) as error:
        raise UsageError(f"the Docker engine at {address} does not answer: {FIX}") from error


@contextmanager
def docker_errors_named(what: str) -> Iterator[None]:
    """Turn an error of the engine into one line that begins with `what`."""
    try:
        yield
    except DOCKER_ERRORS as error:
        raise UsageError(f"{what}: {' '.join(str(error).split())}") from error


def _address() -> str:
    """Address of the engine as the command line has it: from the environment, else of its current context."""
    if named := os.environ.get("DOCKER_HOST"):
        return named
    command = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=CLI_TIMEOUT_S)
    except FileNotFoundError as error:
        raise UsageError("no docker command: install Docker Engine and its Compose plug-in") from error
    except subprocess.SubprocessError:
        return DEFAULT
    return done.stdout.strip() or DEFAULT


PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"


def containers_of(client: docker.DockerClient, project: str, service: str | None = None) -> list[Container]:
    """Containers of a project, or of one of its services, ended ones too."""
    labels = [f"{PROJECT_LABEL}={project}", RUN_LABEL]
    if service is not None:
        labels.append(f"{SERVICE_LABEL}={service}")
    projects: list[Container] = client.containers.list(
        all=True, ignore_removed=True, filters={"label": labels}
    )
    return projects


ACTIONS = ("create", "start", "health_status", "pause", "unpause", "kill", "oom", "die", "stop", "destroy")
NS = 1_000_000_000


class ContainerEvents:
    """Polls the engine, which keeps the last 256 events of all containers."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._filters = {"type": "container", "event": list(ACTIONS), "label": f"{PROJECT_LABEL}={project}"}
        self._last_ns = time.time_ns()

    def new(self) -> Iterator[ContainerAction]:
        """All events since the last call, in order. Raises what the SDK raises."""
        since, until = _seconds(self._last_ns), _seconds(time.time_ns())
        events = self._client.api.events(since=since, until=until, filters=self._filters, decode=True)
        for event in list(events):
            if event["timeNano"] > self._last_ns:
                self._last_ns = event["timeNano"]
                yield _plain(event)


def _seconds(ns: int) -> Any:
    """The engine takes fractions, which the types of the SDK know nothing of."""
    return f"{ns // NS}.{ns % NS:09d}"


def _plain(event: dict[str, Any]) -> ContainerAction:
    attributes = event["Actor"]["Attributes"]
    return ContainerAction(
        action=event["Action"],
        service=attributes.get(SERVICE_LABEL, ""),
        container=event["Actor"]["ID"][:12],
        at_ns=event["timeNano"],
        code=_number(attributes, "exitCode"),
        signal=_number(attributes, "signal"),
    )


def _number(attributes: Mapping[str, str], name: str) -> int | None:
    return int(attributes[name]) if name in attributes else None


PATIENCE_S = 20.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class OwnedProject:
    """A project of ours in the engine."""

    name: str
    run_id: str


def remove_orphaned_projects(client: docker.DockerClient, state_folder: Path) -> tuple[str, ...]:
    """Remove projects whose runs have no registry in this folder any more. Returns one line each.

    Raises docker.errors.DockerException when something cannot be removed.
    """
    done: list[str] = []
    for projects in _projects_of(client, state_folder):
        if not (state_folder / f"{projects.run_id}.json").exists():
            done += remove_project(client, projects.name)
    return tuple(done)


def _projects_of(client: docker.DockerClient, state_folder: Path) -> list[OwnedProject]:
    labels = [f"{STATE_LABEL}={state_folder}"]
    containers = client.containers.list(all=True, filters={"label": labels})
    projects = {(each.labels.get(PROJECT_LABEL, ""), each.labels.get(RUN_LABEL, "")) for each in containers}
    return [OwnedProject(name, run_id) for name, run_id in sorted(projects) if name and run_id]


def remove_project(client: docker.DockerClient, project: str) -> tuple[str, ...]:
    """Thaw, kill and remove all containers of a project: it has nothing else. Returns one line for each.

    Raises docker.errors.DockerException when something cannot be removed.
    """
    return tuple(
        line for container in containers_of(client, project) for line in _remove_container(container)
    )


def _remove_container(container: Container) -> list[str]:
    done = []
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            container.reload()
            if container.status == "paused":
                # A frozen process cannot even be killed.
                container.unpause()
                done.append(f"unpaused container {container.name}")
            container.remove(force=True, v=True)
        except NotFound:
            break
        except APIError:
            # Somebody else's removal, or a start, may be under way.
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
            continue
        break
    return [*done, f"removed container {container.name}"]
