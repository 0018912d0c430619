"""The interface of the injectors: each applies faults to one target, and can verify and revert them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from chaos.inside.injection import draw
from history.protocol.evidence import Evidence
from history.protocol.outside import OutsideFiring
from history.protocol.schedule import Value


@dataclass(frozen=True)
class DueInjection:
    """One injection that is due."""

    fault: str
    """The fault's id in the scenario."""
    kind: str
    site: str
    """The counted invocations: sent, answered or second."""
    n: int
    """Number of the invocation, from 0."""
    params: Mapping[str, Value]
    """All parameters of the kind."""
    seed: int

    def draw(self, purpose: str) -> int:
        """A number in [0, 2**64) that depends on this injection; `purpose` separates several uses."""
        return draw(self.seed, self.fault, self.site, self.n, purpose)


class InjectionRefused(Exception):
    """The fault cannot be applied now; the message gives the reason. Nothing was changed."""


class TargetNotRunning(InjectionRefused):
    """The target does not run."""


class TargetNotVisible(InjectionRefused):
    """The target's processes are not visible from this machine, or are not the server's."""


class ActiveFault(Protocol):
    """A fault from its preparation until it is reverted. Its methods never block; an OSError from any of
    them ends the run."""

    def apply(self) -> None:
        """Apply the fault. Raises Refused. A signal to the conductor may interrupt this anywhere."""
        ...

    def verify(self) -> OutsideFiring | None:
        """The evidence that it took effect; None until there is some. Called until then."""
        ...

    def revert(self) -> None:
        """Begin to revert it, also when it was applied in part. Idempotent; called however a run ends."""
        ...

    def reverted(self) -> Evidence | None:
        """The evidence that it is reverted; None until there is some. Called after `revert` until then."""
        ...


class Injector(Protocol):
    """Applies faults of some kinds to one target."""

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that it can apply."""
        ...

    def unsupported_reason(self, kind: str) -> str | None:
        """Why such a fault is not supported here, in one line; None when it is. Called before the run."""
        ...

    def prepare(self, injection: DueInjection) -> ActiveFault:
        """Prepare a fault. Nothing is applied yet."""
        ...
