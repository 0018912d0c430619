"""A fault that fired, where to look for its consequence, and traces that several kinds of fault leave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from history.reader import History, PhaseWindow
from history.records import FaultRecord, RequestRecord
from history.scenario import FaultSpec
from history.verdict import Figures
from oracles.views.incarnations import deaths
from oracles.views.struck_requests import RequestsInFlight, by_name
from oracles.views.timeline import NS_PER_US, lines_before_stop


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a fault may have had no consequence."""

    kind: str
    """A short name of this reason."""
    text: str
    figures: Figures = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FiredFault:
    """A fault that fired, and where to look for its consequence."""

    history: History
    fault: FaultSpec
    fired: list[FaultRecord]
    phases: list[PhaseWindow]
    """The phases in which it was armed."""

    @cached_property
    def named(self) -> dict[str, list[RequestRecord]]:
        """The requests that the firings name."""
        return by_name(self.fired, self.history.requests)

    @cached_property
    def in_flight(self) -> RequestsInFlight:
        return RequestsInFlight(self.history.requests)

    def requests_of(self, line: FaultRecord) -> list[RequestRecord]:
        """The request that a firing struck, by all of its records; none where it is not named."""
        return self.named[line.request] if line.request is not None else []

    def tokens_ns(self) -> Iterator[int]:
        """When tokens came to clients in these phases; in no order."""
        names = {phase.spec.name for phase in self.phases}
        for record in self.history.requests:
            if record.phase in names:
                yield from (record.start_ns + us * NS_PER_US for us in record.chunk_us)

    def growth(self, metric: str, **labels: str) -> float | None:
        """Growth of a counter summed over the phases; None when it is absent there."""
        log = self.history.metrics
        grown = [
            log.increase(phase.first_scrape, phase.last_scrape, metric, **labels)
            for phase in self.phases
            if phase.first_scrape is not None and phase.last_scrape is not None
        ]
        present = [growth for growth in grown if growth is not None]
        return sum(present) if present else None

    def growth_to_the_end(self, metric: str, **labels: str) -> float | None:
        """Growth from the start of the first of the phases to the last scrape of the run."""
        log = self.history.metrics
        first = self.phases[0].first_scrape if self.phases else None
        return log.increase(first, len(log) - 1, metric, **labels) if first is not None else None


def log_lines(case: FiredFault, pattern: re.Pattern[str]) -> int:
    return sum(pattern.search(line) is not None for line in lines_before_stop(case.history))


def token_after(request: RequestRecord, t_ns: int) -> bool:
    return any(request.start_ns + us * NS_PER_US > t_ns for us in request.chunk_us)


def server_died(case: FiredFault) -> Doubt | None:
    """The server died after the first strike."""
    first = min(record.t_ns for record in case.fired)
    if any(event.t_ns >= first for event in deaths(case.history)):
        return None
    return Doubt("server-lived-on", "the server lived on")
