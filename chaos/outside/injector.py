"""What an injector is: it strikes one target in its own ways, and each strike can be proved and undone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from chaos.inside import trigger_decisions
from history.protocol.evidence import Evidence
from history.protocol.outside import OutsideFiring
from history.protocol.schedule import Value


@dataclass(frozen=True)
class Strike:
    """One strike that is due."""

    fault: str
    """The fault's id in the scenario."""
    kind: str
    site: str
    """What was counted."""
    n: int
    """Number of the arrival that is struck, from 0."""
    params: Mapping[str, Value]
    """All parameters of the kind."""
    seed: int

    def draw(self, purpose: str) -> int:
        """A number in [0, 2**64) that belongs to this strike; `purpose` tells several uses apart."""
        return trigger_decisions.draw(self.seed, self.fault, self.site, self.n, purpose)


class Refused(Exception):
    """A strike that cannot be carried out now; the message says why. Nothing was changed."""


class NotThere(Refused):
    """What was to be struck does not run."""


class NotVisible(Refused):
    """What was to be struck cannot be seen from this machine, or is none of the server's."""


class Hold(Protocol):
    """A strike, from before it is carried out until it is undone. Its methods never wait; OSError from any of
    them ends the run."""

    def strike(self) -> None:
        """Carry it out. Raises Refused. A signal to the conductor may cut this in two at any place."""
        ...

    def proof(self) -> OutsideFiring | None:
        """What shows that it took effect; None as long as nothing does. Asked until it is shown."""
        ...

    def lift(self) -> None:
        """Begin to undo it, also what was done by half. Safe to repeat; done on every way out of a run."""
        ...

    def lifted(self) -> Evidence | None:
        """What shows that it is undone; None as long as nothing does. Asked after `lift` until it shows."""
        ...


class Injector(Protocol):
    """Carries out strikes of some kinds on one target."""

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that it can carry out."""
        ...

    def obstacle(self, kind: str) -> str | None:
        """Why such a fault cannot be had here, in one line; None when it can. Asked before the start."""
        ...

    def hold(self, strike: Strike) -> Hold:
        """Make a strike ready. Nothing happens yet."""
        ...
