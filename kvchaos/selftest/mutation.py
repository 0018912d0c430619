"""The interface of a mutation of the traffic between a server and the suite. It changes nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kvchaos.conductor.probe_client import PHASE as CANARY

LOAD = "load"
"""The phase that mutations alter."""
STARTS_AFTER = 10
"""Responses of that phase that pass unaltered first."""
DONE = "[DONE]"
"""The last event of a stream; all others are JSON."""


class ConnectionCut(Exception):
    """The proxy closes the client's connection here."""


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A request from a client, before it is forwarded."""

    method: str
    path: str
    id: str
    """The X-Request-Id that the client sent; empty for requests that are no completions."""
    body: bytes
    agent: str = ""
    """The User-Agent header."""

    @property
    def of_load(self) -> bool:
        return self.id.startswith(f"{LOAD}-")

    @property
    def of_prometheus(self) -> bool:
        return self.agent.startswith("Prometheus/")


@dataclass(frozen=True, slots=True)
class ProxiedResponse:
    """A response that is no event stream."""

    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class TrafficState:
    """Counts of the traffic so far. Many request threads update it."""

    run_dir: Path
    port: int
    """The port of the server itself."""
    load_in_flight: int = 0
    load_ended: int = 0
    probes_ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, request: ProxiedRequest) -> None:
        with self._lock:
            self.load_in_flight += request.of_load

    def end(self, request: ProxiedRequest) -> None:
        with self._lock:
            self.load_in_flight -= request.of_load
            self.load_ended += request.of_load
            self.probes_ended += request.id.startswith(f"{CANARY}-")

    @property
    def load_in_progress(self) -> bool:
        """Whether load is in flight, so that no scrape taken now is one at which a phase begins or ends."""
        return self.load_ended >= STARTS_AFTER and self.load_in_flight > 0

    @property
    def load_has_started(self) -> bool:
        return self.load_ended >= STARTS_AFTER


class Mutation:
    """Passes everything on unaltered. A kind of mutation overrides one of these methods."""

    def intercept(self, request: ProxiedRequest, traffic: TrafficState) -> ProxiedResponse | None:
        """A response in place of the server's; then the request is not forwarded. None: forward it."""
        return None

    def scrape(self, text: str, traffic: TrafficState) -> str:
        """Alter the text of /metrics that the suite receives."""
        return text

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
        """Alter the text of /metrics that Prometheus receives. May raise ConnectionCut."""
        return text

    def response(
        self, request: ProxiedRequest, response: ProxiedResponse, traffic: TrafficState
    ) -> ProxiedResponse:
        """Alter any other response that is no event stream."""
        return response

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        """Alter the data of a stream's events. May raise ConnectionCut."""
        return events
