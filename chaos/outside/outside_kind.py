"""A kind of fault from outside: its target, the stacks that support it, its evidence and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chaos.inside.fault_kind import Effect, Parameter

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

BY = Parameter(ANSWERED, choices=(SENT, ANSWERED, SECOND), about="what is an arrival")
"""A sent request of the phase, a completed one, or a second of the phase."""


def for_s(default: float, about: str) -> Parameter:
    """The duration of an injection; the end of its phase ends it too."""
    return Parameter(default, 0, 3600, about=f"seconds {about}")


@dataclass(frozen=True)
class OutsideKind:
    """A kind of fault that is applied from outside the server."""

    name: str
    target: str
    contract: str
    """legal: any server may meet it and must come through, or come back right. hostile: the scenario says
    what must come of it."""
    effect: str
    evidence: str
    consequence: str
    heals: str
    parameters: Mapping[str, Parameter]
    stacks: tuple[str, ...]
    """The stacks that support it."""
    lethal: bool = False
    """Whether it ends the server. The server is restarted when the fault is healed."""
    silences: bool = True
    """Whether no token may come while it is active."""
    ends_alone: bool = False
    """Whether it is over once it is verified, even before `for_s`; several may be active."""
    declared: tuple[Effect, ...] = ()
    """The findings that come of it. What legal faults do, the judges take into account as they judge: the
    end of a life that one of them ended is no finding."""
    undeclared: str = ""

    keyed: ClassVar[bool] = False
    """An invocation is no block."""
    of_request: ClassVar[bool] = False
    """An invocation is no single request in a state."""
