"""Removes containers of ours: of one project, or of all whose runs have ended without doing so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from kvchaos.stacks.compose.container_runtime import PROJECT_LABEL, containers_of
from kvchaos.stacks.compose.project import RUN_LABEL, STATE_LABEL

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
