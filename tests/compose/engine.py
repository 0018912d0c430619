"""What the tests see of the Docker engine: containers, and what they leave on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from kvchaos.stacks.compose.docker_engine import PROJECT_LABEL
from kvchaos.stacks.compose.project import STATE_LABEL
from kvchaos.stacks.process_group import PROC


@dataclass(frozen=True)
class Traces:
    """Everything of some projects that can be found."""

    containers: list[str]
    networks: list[str]
    volumes: list[str]
    processes: list[int]
    mounts: list[str]


NOTHING = Traces([], [], [], [], [])


def traces_of(client: docker.DockerClient, state_folder: Path, container_ids: set[str]) -> Traces:
    """Of the projects with their records in this folder, and of containers that once were theirs."""
    ours: dict[str, str | list[str] | bool] = {"label": f"{STATE_LABEL}={state_folder}"}
    containers = client.containers.list(all=True, filters=ours)
    mounts = Path("/proc/self/mountinfo").read_text()
    return Traces(
        containers=[container.name or "" for container in containers],
        networks=[network.name or "" for network in client.networks.list() if _is_of_a_run(network.attrs)],
        volumes=[volume.name or "" for volume in client.volumes.list() if _is_of_a_run(volume.attrs)],
        processes=[
            pid for pid, command in _command_lines() if any(name in command for name in container_ids)
        ],
        mounts=[line for line in mounts.splitlines() if any(name in line for name in container_ids)],
    )


def ids_of(client: docker.DockerClient, state_folder: Path) -> set[str]:
    """Of all containers of ours that there are now."""
    found = client.containers.list(all=True, filters={"label": f"{STATE_LABEL}={state_folder}"})
    return {container.id or "" for container in found}


def _is_of_a_run(attributes: Mapping[str, Any]) -> bool:
    labels: Mapping[str, str] = attributes.get("Labels") or {}
    return labels.get(PROJECT_LABEL, "").startswith("kvchaos-")


def _command_lines() -> list[tuple[int, str]]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                found.append((int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace")))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
