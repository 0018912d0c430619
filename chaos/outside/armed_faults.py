"""Which injections of a fault are due, by the progress of a phase."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.fault_catalogue import defaults
from chaos.inside.injection import fires
from chaos.outside.injector import DueInjection
from chaos.outside.outside_kind import ANSWERED, SECOND, SENT
from chaos.outside.outside_kinds import KINDS
from history.protocol.schedule import Value
from history.scenario import FaultSpec


@dataclass(frozen=True, slots=True)
class InvocationCounts:
    """The progress of a phase."""

    sent: int
    answered: int
    seconds: float
    """Since it began."""

    def invocations_at(self, site: str) -> int:
        """Invocations at a site so far. Invocation n of site `second` is n seconds after the start of
        the phase."""
        return {SENT: self.sent, ANSWERED: self.answered, SECOND: math.floor(self.seconds) + 1}[site]


@dataclass
class ArmedOutsideFault:
    """An armed fault, with the invocations that it has counted."""

    spec: FaultSpec
    seed: int
    invocations: int = 0
    struck: int = 0
    params: dict[str, Value] = field(init=False)
    site: str = field(init=False)

    def __post_init__(self) -> None:
        self.params = {**defaults(KINDS[self.spec.kind].parameters), **self.spec.params}
        self.site = str(self.params["by"])
        self._trigger = self.spec.trigger.as_armed()

    def due(self, progress: InvocationCounts) -> Iterator[DueInjection]:
        """The injections at the new invocations. The caller increments `struck` for each that it applies."""
        while self.invocations < progress.invocations_at(self.site):
            n, self.invocations = self.invocations, self.invocations + 1
            if not self._trigger.spent(self.struck) and fires(
                self._trigger, self.seed, self.spec.id, self.site, n
            ):
                yield DueInjection(self.spec.id, self.spec.kind, self.site, n, self.params, self.seed)
