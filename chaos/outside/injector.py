"""A kind of fault from outside, and the interface of the injectors that apply, verify and revert it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from chaos.inside.fault_kind import Effect, EffectCheck, Parameter
from chaos.inside.trigger_decisions import draw
from history.protocol.evidence import Evidence
from history.protocol.outside import OutsideFiring
from history.protocol.schedule import Value

SERVER = "server"
NETWORK = "network"
CLIENT = "client"
PROMETHEUS = "Prometheus"

LOCAL = "local"
COMPOSE_CPU = "compose-cpu"
COMPOSE_GPU = "compose-gpu"
CONTAINERS = (COMPOSE_CPU, COMPOSE_GPU)
EVERYWHERE = (LOCAL, *CONTAINERS)

SENT = "sent"
ANSWERED = "answered"
SECOND = "second"

TRIGGER_ON = Parameter(ANSWERED, choices=(SENT, ANSWERED, SECOND), about="what counts as an invocation")
"""A sent request of the phase, a completed one, or a second of the phase."""


def duration_s(default: float, about: str) -> Parameter:
    """The duration of an injection; the end of its phase ends it too."""
    return Parameter(default, 0, 3600, about=f"seconds {about}")


@dataclass(frozen=True)
class OutsideKind:
    """A kind of fault that is applied from outside the server."""

    name: str
    target: str
    contract: str
    """conforming: any server may meet it and must come through, or come back right. contract-violating: the
    scenario says what must come of it."""
    effect: str
    evidence: str
    consequence: str
    heals: str
    parameters: Mapping[str, Parameter]
    stacks: tuple[str, ...]
    """The stacks that support it."""
    firing: type[OutsideFiring]
    """The type of its evidence."""
    reverted: type[Evidence]
    """The type of the evidence that it is reverted."""
    inject: Callable[[DueInjection, Any], ActiveFault]
    """Prepares an injection into its target. Nothing is applied yet."""
    check: EffectCheck
    lethal: bool = False
    """Whether it ends the server. The server is restarted when the fault is healed."""
    silences: bool = True
    """Whether no token may come while it is active."""
    ends_alone: bool = False
    """Whether it is over once it is verified, even before `duration_s`; several may be active."""
    declared: tuple[Effect, ...] = ()
    """The findings that come of it. What conforming faults do, the judges take into account as they judge:
    the end of a life that one of them ended is no finding."""
    undeclared: str = ""

    keyed: ClassVar[bool] = False
    """An invocation is no block."""
    of_request: ClassVar[bool] = False
    """An invocation is no single request in a state."""


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


class ForeignFaultFailed(Exception):
    """The code of a fault of another package raised an error, and ends the run; the message names both."""


class ActiveFault(Protocol):
    """A fault from its preparation until it is reverted.

    Its methods never block; an OSError from any of them ends the run.
    """

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
