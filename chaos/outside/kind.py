"""What a kind of fault from outside is: whom it strikes, where it can be had, how it shows and ends."""

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
"""A request of the phase that is sent, one that is answered whole, or a second of the phase."""


def for_s(default: float, about: str) -> Parameter:
    """For how long a strike lasts; the end of its phase ends it too."""
    return Parameter(default, 0, 3600, about=f"seconds {about}")


@dataclass(frozen=True)
class OutsideKind:
    """One way of striking from outside."""

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
    """Where it can be had."""
    deadly: bool = False
    """Whether the server's end is what comes of it. It is brought back when the fault is healed."""
    silences: bool = True
    """Whether no token may come as long as a strike lasts."""
    ends_alone: bool = False
    """Whether a strike is over once it is proved, maybe long before `for_s`, and others may be in force."""
    declared: tuple[Effect, ...] = ()
    """The findings that come of it. What legal faults do, the judges take into account as they judge: the
    end of a life that one of them ended is no finding."""
    undeclared: str = ""

    keyed: ClassVar[bool] = False
    """An arrival is no block,"""
    of_request: ClassVar[bool] = False
    """and no single request in some state."""
