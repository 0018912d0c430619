"""What befell a project's containers, by the engine's own word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import docker

from history.records import Scalar
from kvchaos.stacks.compose.sweep import PROJECT_LABEL, SERVICE_LABEL

ACTIONS = ("create", "start", "health_status", "pause", "unpause", "kill", "oom", "die", "stop", "destroy")
NS = 1_000_000_000
TOLD = {"exitCode": "code", "signal": "signal"}


class Happenings:
    """Asks the engine again and again; it keeps the last 256 events of all containers."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._filters = {"type": "container", "event": list(ACTIONS), "label": f"{PROJECT_LABEL}={project}"}
        self._last_ns = time.time_ns()

    def new(self) -> Iterator[dict[str, Scalar]]:
        """All since it was last asked, in order. Raises what the SDK raises."""
        since, until = _seconds(self._last_ns), _seconds(time.time_ns())
        events = self._client.api.events(since=since, until=until, filters=self._filters, decode=True)
        for event in list(events):
            if event["timeNano"] > self._last_ns:
                self._last_ns = event["timeNano"]
                yield _plain(event)


def _seconds(ns: int) -> Any:
    """The engine takes fractions, which the types of the SDK know nothing of."""
    return f"{ns // NS}.{ns % NS:09d}"


def _plain(event: dict[str, Any]) -> dict[str, Scalar]:
    attributes = event["Actor"]["Attributes"]
    told: dict[str, Scalar] = {
        "action": event["Action"],
        "service": attributes.get(SERVICE_LABEL, ""),
        "container": event["Actor"]["ID"][:12],
        "at_ns": event["timeNano"],
    }
    for name, short in TOLD.items():
        if name in attributes:
            told[short] = int(attributes[name])
    return told
