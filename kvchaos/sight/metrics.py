"""Mutations of what the server tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from kvchaos.sight.exposition import Change, alter, drop
from kvchaos.sight.mutation import Asked, Cut, Mutation, Reply, Traffic

CANARIES = 4
"""Of a run: when the server is ready, after each of the two phases, and at the end."""


class When(Enum):
    FIRST = "in the first scrape once the server has answered"
    ONCE = "in one scrape, while load is on its way"
    ON = "from the middle of the load on"
    END = "once all is over"


@dataclass(slots=True)
class Sample(Mutation):
    """The value of a metric's samples is changed."""

    metric: str
    change: Change
    labels: Mapping[str, str] = field(default_factory=dict)
    when: When = When.ON
    _done: bool = False

    def scrape(self, text: str, traffic: Traffic) -> str:
        if self._done or not self._is_due(traffic):
            return text
        self._done = self.when in (When.FIRST, When.ONCE)
        return alter(text, self.metric, self.labels, self.change)

    def _is_due(self, traffic: Traffic) -> bool:
        match self.when:
            case When.FIRST:
                return traffic.canaries_ended > 0
            case When.ONCE:
                return traffic.in_mid_load
            case When.ON:
                return traffic.load_has_begun
            case When.END:
                return traffic.canaries_ended >= CANARIES


@dataclass(slots=True)
class Watched(Mutation):
    """What `Sample` does to the suite, done to Prometheus alone."""

    sample: Sample

    def watch(self, text: str, traffic: Traffic) -> str:
        return self.sample.scrape(text, traffic)


@dataclass(slots=True)
class Withheld(Mutation):
    """Prometheus does not hear of a metric."""

    metric: str

    def watch(self, text: str, traffic: Traffic) -> str:
        return drop(text, self.metric)


class Blind(Mutation):
    """Prometheus hears nothing any more once the first canary was answered."""

    def watch(self, text: str, traffic: Traffic) -> str:
        if traffic.canaries_ended:
            raise Cut
        return text


@dataclass(slots=True)
class Answered(Mutation):
    """The answer to one path is another one."""

    path: str
    status: int
    body: bytes

    def reply(self, asked: Asked, reply: Reply, traffic: Traffic) -> Reply:
        if asked.path != self.path:
            return reply
        return replace(reply, status=self.status, content_type="application/json", body=self.body)
