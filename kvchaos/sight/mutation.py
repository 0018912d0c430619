"""What a mutant may do to the traffic between a server and the suite. By default, nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kvchaos.conductor.canary import PHASE as CANARY

LOAD = "load"
"""The phase in which mutants strike."""
BEGINS_AT = 10
"""Answers of that phase that go by untouched."""
DONE = "[DONE]"
"""The last event of a stream; all others are JSON."""


class Cut(Exception):
    """Break the client's connection off here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way to the server."""

    method: str
    path: str
    id: str
    """As the client named it; empty for what is no completion."""
    body: bytes
    agent: str = ""
    """The program that asks, by its own word."""

    @property
    def of_load(self) -> bool:
        return self.id.startswith(f"{LOAD}-")

    @property
    def of_prometheus(self) -> bool:
        return self.agent.startswith("Prometheus/")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no stream."""

    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class Traffic:
    """What has gone by so far. Threads of many requests write to it."""

    run_dir: Path
    port: int
    """Of the server itself."""
    load_in_flight: int = 0
    load_ended: int = 0
    canaries_ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, asked: Asked) -> None:
        with self._lock:
            self.load_in_flight += asked.of_load

    def end(self, asked: Asked) -> None:
        with self._lock:
            self.load_in_flight -= asked.of_load
            self.load_ended += asked.of_load
            self.canaries_ended += asked.id.startswith(f"{CANARY}-")

    @property
    def in_mid_load(self) -> bool:
        """No scrape that is taken now is one at which a phase begins or ends."""
        return self.load_ended >= BEGINS_AT and self.load_in_flight > 0

    @property
    def load_has_begun(self) -> bool:
        return self.load_ended >= BEGINS_AT


class Mutation:
    """Lets everything pass. A kind of mutant overrides one of these."""

    def asked(self, asked: Asked, traffic: Traffic) -> Reply | None:
        """A reply in the server's place, which then never hears of the request."""
        return None

    def scrape(self, text: str, traffic: Traffic) -> str:
        """The text of /metrics, for the suite."""
        return text

    def watch(self, text: str, traffic: Traffic) -> str:
        """The text of /metrics, for Prometheus. May raise Cut."""
        return text

    def reply(self, asked: Asked, reply: Reply, traffic: Traffic) -> Reply:
        """Any other answer that is no stream."""
        return reply

    def events(self, asked: Asked, events: Iterator[str]) -> Iterator[str]:
        """The data of a stream's events. May raise Cut."""
        return events
