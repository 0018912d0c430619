"""Mutations of what the server shows of itself: metrics, small endpoints, connections, log, fault journal."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from chaos.control_plane import ControlPlane
from history import layout
from history.metrics import parse_key
from history.scenario import FaultSpec, Trigger
from kvchaos.selftest.mutating_proxy import Mutation, ProxiedRequest, ProxiedResponse, TrafficState
from kvchaos.stacks.server_command import HOST

PROBES = 4
"""Probes of a run: when the server is ready, after each of the two phases, and at the end."""


class MutationTiming(Enum):
    """When a sample is altered."""

    FIRST_SCRAPE = "in the first scrape after the first answer of the server"
    ONE_SCRAPE = "in one scrape, while load is in flight"
    FROM_MID_LOAD = "from the middle of the load on"
    AFTER_LOAD = "after the last answer"


@dataclass(slots=True)
class SampleMutation(Mutation):
    """The value of a metric's samples is changed."""

    metric: str
    change: ValueChange
    labels: Mapping[str, str] = field(default_factory=dict)
    when: MutationTiming = MutationTiming.FROM_MID_LOAD
    _done: bool = False

    def scrape(self, text: str, traffic: TrafficState) -> str:
        """The text of `/metrics` with altered samples, when it is due."""
        if self._done or not self._is_due(traffic):
            return text
        self._done = self.when in (MutationTiming.FIRST_SCRAPE, MutationTiming.ONE_SCRAPE)
        return alter_samples(text, self.metric, self.labels, self.change)

    def _is_due(self, traffic: TrafficState) -> bool:
        match self.when:
            case MutationTiming.FIRST_SCRAPE:
                return traffic.probes_ended > 0
            case MutationTiming.ONE_SCRAPE:
                return traffic.load_in_progress
            case MutationTiming.FROM_MID_LOAD:
                return traffic.load_has_started
            case MutationTiming.AFTER_LOAD:
                return traffic.probes_ended >= PROBES


@dataclass(slots=True)
class PrometheusOnly(Mutation):
    """A `SampleMutation` of the scrapes of Prometheus alone, not of the suite's."""

    sample: SampleMutation

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
        """The text of `/metrics` with the samples altered, for Prometheus."""
        return self.sample.scrape(text, traffic)


@dataclass(slots=True)
class MetricWithheld(Mutation):
    """A metric is missing from the scrapes of Prometheus."""

    metric: str

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
        """The text of `/metrics` without the metric, for Prometheus."""
        return drop_metric(text, self.metric)


@dataclass(slots=True)
class FixedResponse(Mutation):
    """Requests for one path get a fixed response."""

    path: str
    status: int
    body: bytes

    def response(
        self, request: ProxiedRequest, response: ProxiedResponse, traffic: TrafficState
    ) -> ProxiedResponse:
        """The fixed response for its path; otherwise the server's."""
        if request.path != self.path:
            return response
        return replace(response, status=self.status, content_type="application/json", body=self.body)


@dataclass(slots=True)
class RunAction(Mutation):
    """An action on the run directory, at the first scrape in the middle of the load."""

    action: Callable[[Path], None]
    _done: bool = False

    def scrape(self, text: str, traffic: TrafficState) -> str:
        """The text of `/metrics` unchanged; performs the action once."""
        if traffic.load_in_progress and not self._done:
            self._done = True
            self.action(traffic.run_dir)
        return text


@dataclass(slots=True)
class ConnectionLeak(Mutation):
    """Connections to the server itself that stay open until the run is over."""

    count: int
    _open: list[socket.socket] = field(default_factory=list)

    def scrape(self, text: str, traffic: TrafficState) -> str:
        """The text of `/metrics` unchanged; opens the connections once."""
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


ValueChange = Callable[[float], float]


def alter_samples(text: str, metric: str, labels: Mapping[str, str], change: ValueChange) -> str:
    """The text with the value of each sample of a metric that has these labels changed.

    Raises LookupError when there is no such sample: a mutant that altered nothing proves nothing.
    """
    altered, lines = 0, text.split("\n")
    for number, line in enumerate(lines):
        key, space, value = line.rpartition(" ")
        if not space or not line.startswith(metric):
            continue
        name, found = parse_key(key)
        if name == metric and labels.items() <= found.items():
            lines[number] = f"{key} {change(float(value))!r}"
            altered += 1
    if not altered:
        raise LookupError(f"no sample of {metric} {dict(labels)} to alter")
    return "\n".join(lines)


def drop_metric(text: str, metric: str) -> str:
    """The text without the samples of a metric. Raises LookupError when there is none."""
    lines = text.split("\n")
    kept = [line for line in lines if line.partition("{")[0].partition(" ")[0] != metric]
    if len(kept) == len(lines):
        raise LookupError(f"there is no sample of {metric} to remove")
    return "\n".join(kept)
