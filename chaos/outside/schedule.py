"""Which strikes of a fault are due, by what a phase has seen so far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.catalogue import defaults
from chaos.inside import trigger_decisions
from chaos.outside.faults import KINDS
from chaos.outside.injector import Strike
from chaos.outside.kind import ANSWERED, SECOND, SENT
from history.plan import FaultSpec
from history.protocol.schedule import Value


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a phase stands."""

    sent: int
    answered: int
    seconds: float
    """Since it began."""

    def arrivals(self, site: str) -> int:
        """How many arrivals there were at a site so far. Arrival n of the seconds comes n seconds after the
        begin of the phase."""
        return {SENT: self.sent, ANSWERED: self.answered, SECOND: math.floor(self.seconds) + 1}[site]


@dataclass
class ArmedFault:
    """A fault in force, with the arrivals that it has counted."""

    spec: FaultSpec
    seed: int
    seen: int = 0
    struck: int = 0
    params: dict[str, Value] = field(init=False)
    site: str = field(init=False)

    def __post_init__(self) -> None:
        self.params = {**defaults(KINDS[self.spec.kind].parameters), **self.spec.params}
        self.site = str(self.params["by"])
        self._trigger = self.spec.trigger.as_armed()

    def due(self, reached: Reached) -> Iterator[Strike]:
        """The strikes of the arrivals that are new. Who carries one out adds it to `struck`."""
        while self.seen < reached.arrivals(self.site):
            n, self.seen = self.seen, self.seen + 1
            if not self._trigger.spent(self.struck) and trigger_decisions.fires(
                self._trigger, self.seed, self.spec.id, self.site, n
            ):
                yield Strike(self.spec.id, self.spec.kind, self.site, n, self.params, self.seed)
