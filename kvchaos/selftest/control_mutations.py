"""Mutations of the run itself, not of its traffic: once, in the middle of the load."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.control_plane import ControlPlane
from history import layout
from history.scenario import FaultSpec, Trigger
from kvchaos.selftest.mutation import Mutation, ProxiedRequest, TrafficState
from kvchaos.selftest.stream_mutations import ALTERED_EVENT
from kvchaos.stacks.command import HOST

ONE_REQUEST_IN = 4
"""One request in so many of the load gets an expensive event."""
EXPENSIVE_EVENT = f'{{"choices":[{",".join(["{}"] * 1_000_000)}]}}'
"""An event without a token that takes a client some tenths of a second to parse."""


@dataclass(slots=True)
class RunAction(Mutation):
    """An action on the run directory, at the first scrape in the middle of the load."""

    action: Callable[[Path], None]
    _done: bool = False

    def scrape(self, text: str, traffic: TrafficState) -> str:
        if traffic.load_in_progress and not self._done:
            self._done = True
            self.action(traffic.run_dir)
        return text


class ExpensiveEvents(Mutation):
    """Some streams contain an event that keeps the client busy."""

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        altered = request.of_load and int(request.id.rpartition("-")[2]) % ONE_REQUEST_IN == 0
        return _with_expensive_event(events) if altered else events


def _with_expensive_event(events: Iterator[str]) -> Iterator[str]:
    for number, event in enumerate(events):
        if number == ALTERED_EVENT:
            yield EXPENSIVE_EVENT
        yield event


@dataclass(slots=True)
class ConnectionLeak(Mutation):
    """Connections to the server itself that stay open until the run is over."""

    count: int
    _open: list[socket.socket] = field(default_factory=list)

    def scrape(self, text: str, traffic: TrafficState) -> str:
        if traffic.load_in_progress and not self._open:
            self._open = [socket.create_connection((HOST, traffic.port)) for _ in range(self.count)]
        return text


def log_engine_crash(run_dir: Path) -> None:
    """Append the line that a server logs when its engine dies."""
    with (run_dir / layout.SERVER_LOG).open("a", encoding="utf-8") as log:
        log.write("(EngineCore) ERROR EngineCore encountered a fatal error.\n")


def arm_unplanned_fault(run_dir: Path) -> None:
    """Arm a fault that is not in the plan and fires once."""
    fault = FaultSpec(id="unplanned", kind="lookup_miss", trigger=Trigger(every=1, limit=1))
    ControlPlane(run_dir / layout.CONTROL).arm(0, [fault])
