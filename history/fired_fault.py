"""What the check of a fault's effect gets: the fault that fired, and the views of the history on it.

The faults of `chaos` are written against this interface; `oracles` implements it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from history.events import Drained, LeakProbe, ServerStalled
from history.protocol.evidence import Evidence
from history.protocol.outside import Ended
from history.reader import History, PhaseWindow
from history.records import DEADLINE_EXCEEDED, FaultRecord, RequestRecord
from history.scenario import FaultSpec
from history.verdict import Figures

NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a fault may have had no consequence."""

    kind: str
    """A short name of this reason."""
    text: str
    figures: Figures = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A strike from outside, from its begin to where its undoing began; ns since the epoch."""

    begin_ns: int
    end_ns: int | None
    """None: no line has the end."""
    requests: frozenset[str]
    """Whom it names, at its begin or its end."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a fault left no server running."""

    cause: FaultRecord
    since_ns: int
    until_ns: int | None
    """When the next life served; None when none did."""
    log_from: int
    log_to: int | None
    """Lines of the server's log that were written by what was ending, from which to which, counted from 0."""

    def covers(self, begin_ns: int, end_ns: int) -> bool:
        """Whether something that lasted from one time to another was under way in it."""
        return end_ns >= self.since_ns and (self.until_ns is None or begin_ns <= self.until_ns)


@dataclass(frozen=True)
class FiredFault(ABC):
    """A fault that fired, and where to look for its consequence."""

    history: History
    fault: FaultSpec
    fired: list[FaultRecord]
    phases: list[PhaseWindow]
    """The phases in which it was armed."""

    def doubt(self, kind: str, text: str, figures: Figures | None = None) -> Doubt:
        """A reason why an effect cannot be confirmed: its kind, a sentence, and figures."""
        return Doubt(kind, text, figures or {})

    @property
    def phase_names(self) -> set[str]:
        """Names of the phases in which the fault was armed."""
        return {phase.spec.name for phase in self.phases}

    @abstractmethod
    def requests_named(self, name: str | None) -> list[RequestRecord]:
        """The requests that the server means by a name in a firing, by all of their records."""

    def requests_of(self, line: FaultRecord) -> list[RequestRecord]:
        """The request that a firing struck, by all of its records; none where it is not named."""
        return self.requests_named(line.request)

    @abstractmethod
    def in_flight_at(self, t_ns: int) -> list[RequestRecord]:
        """The requests that were on their way at a moment."""

    def tokens_of(self, record: RequestRecord) -> Iterator[int]:
        """Times at which tokens of a request arrived, wall clock ns."""
        return (record.start_ns + us * NS_PER_US for us in record.chunk_us)

    def end_of(self, record: RequestRecord) -> int:
        """Time at which a request ended, wall clock ns."""
        return record.start_ns + record.end_us * NS_PER_US

    def token_after(self, record: RequestRecord, t_ns: int) -> bool:
        """Whether a request received a token later than `t_ns`, wall clock ns."""
        return any(each > t_ns for each in self.tokens_of(record))

    def something_waits(self) -> bool:
        """Whether a stall, a missed deadline, or blocks that are not freed show that something waits."""
        history = self.history
        missed = any(
            record.error is not None and record.error.kind == DEADLINE_EXCEEDED for record in history.requests
        )
        leaked = any(event.data.ok is False for event in history.events_of(LeakProbe))
        undrained = any(not event.data.ok for event in history.events_of(Drained))
        return missed or leaked or undrained or bool(history.events_of(ServerStalled))

    def tokens_ns(self) -> Iterator[int]:
        """Times at which tokens arrived at clients in these phases, in no order."""
        names = self.phase_names
        for record in self.history.requests:
            if record.phase in names:
                yield from self.tokens_of(record)

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

    @abstractmethod
    def log_lines(self, pattern: re.Pattern[str]) -> int:
        """Lines of the server's log with this pattern, before the suite stopped the server."""

    @abstractmethod
    def server_died_after(self, t_ns: int) -> bool:
        """Whether the server ended after a moment by itself."""

    @abstractmethod
    def different_answers(self) -> list[RequestRecord]:
        """The requests whose answers differ from the golden ones."""

    @abstractmethod
    def readers(self) -> set[str] | None:
        """Ids of the requests that read what was damaged; None where no provenance log says it."""

    @abstractmethod
    def abandoned(self) -> Collection[str]:
        """Ids of the requests that the server aborted, by its journal, since their clients had left."""

    @abstractmethod
    def window(self, line: FaultRecord) -> FaultWindow:
        """The time in which an injection from outside was in force, and its requests."""

    @abstractmethod
    def reverted(self, line: FaultRecord) -> Evidence | None:
        """All that a strike from outside did, by its reverting; None when no line has its end."""

    @abstractmethod
    def ending(self, line: FaultRecord) -> Ended | None:
        """What a strike shows that a life of the server was to end of."""

    @abstractmethod
    def outages(self) -> Sequence[Outage]:
        """The times without a server that faults caused on purpose."""
