"""Mutations of the server's metrics and of its small endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from kvchaos.selftest.exposition import ValueChange, alter_samples, drop_metric
from kvchaos.selftest.mutation import Mutation, ProxiedRequest, ProxiedResponse, TrafficState

PROBES = 4
"""Probes of a run: when the server is ready, after each of the two phases, and at the end."""


class MutationTiming(Enum):
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
        return self.sample.scrape(text, traffic)


@dataclass(slots=True)
class MetricWithheld(Mutation):
    """A metric is missing from the scrapes of Prometheus."""

    metric: str

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
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
        if request.path != self.path:
            return response
        return replace(response, status=self.status, content_type="application/json", body=self.body)
