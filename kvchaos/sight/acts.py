"""Mutations that do something beside the traffic, once, in the middle of the load."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.arming import ControlPlane
from history import layout
from history.plan import FaultSpec, Trigger
from kvchaos.sight.mutation import Asked, Mutation, Traffic
from kvchaos.sight.streams import AT
from kvchaos.stacks.command import HOST

STRUCK_IN = 4
"""One in so many requests of the load."""
BURDEN = f'{{"choices":[{",".join(["{}"] * 1_000_000)}]}}'
"""An event without a token that takes a client some tenths of a second to take in."""


@dataclass(slots=True)
class Act(Mutation):
    """Something is done to the run, told by its directory, as a scrape goes by."""

    do: Callable[[Path], None]
    _done: bool = False

    def scrape(self, text: str, traffic: Traffic) -> str:
        if traffic.in_mid_load and not self._done:
            self._done = True
            self.do(traffic.run_dir)
        return text


class Burden(Mutation):
    """Some answers hold an event that keeps the client busy."""

    def events(self, asked: Asked, events: Iterator[str]) -> Iterator[str]:
        struck = asked.of_load and int(asked.id.rpartition("-")[2]) % STRUCK_IN == 0
        return _with_burden(events) if struck else events


def _with_burden(events: Iterator[str]) -> Iterator[str]:
    for number, event in enumerate(events):
        if number == AT:
            yield BURDEN
        yield event


@dataclass(slots=True)
class Crowd(Mutation):
    """Connections that nobody closes, to the server itself, until the run is over."""

    count: int
    _open: list[socket.socket] = field(default_factory=list)

    def scrape(self, text: str, traffic: Traffic) -> str:
        if traffic.in_mid_load and not self._open:
            self._open = [socket.create_connection((HOST, traffic.port)) for _ in range(self.count)]
        return text


def log_a_crash(run_dir: Path) -> None:
    """What a server writes whose engine has died."""
    with (run_dir / layout.SERVER_LOG).open("a", encoding="utf-8") as log:
        log.write("(EngineCore) ERROR EngineCore encountered a fatal error.\n")


def arm_unplanned(run_dir: Path) -> None:
    """A fault that is not in the plan, and strikes once."""
    fault = FaultSpec(id="unplanned", kind="lookup_miss", trigger=Trigger(every=1, limit=1))
    ControlPlane(run_dir / layout.CONTROL).arm(0, [fault])
