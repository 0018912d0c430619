"""The events of a project's containers, from the Docker engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker

from history.events import ContainerAction
from kvchaos.stacks.compose.cleanup import PROJECT_LABEL, SERVICE_LABEL

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
