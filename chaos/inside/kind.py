"""What a kind of fault is: where it strikes, what it may do, how it shows, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from history.protocol.schedule import Value

LEGAL = "legal"
HOSTILE = "hostile"

SCHEDULER = "scheduler"
WORKER = "worker"

EffectScope = Literal["struck", "readers", "life", "wait", "rest"]
"""Which findings of a rule are of a fault's doing; see `history.plan.DeclaredEffect`."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a fault with its bounds; `choices` for words."""

    default: Value
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    about: str = ""

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value, or None."""
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "must be true or false"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if isinstance(self.default, int) and not isinstance(value, int):
            return "must be a whole number"
        return None if self.low <= value <= self.high else f"must lie in {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Effect:
    """Findings that a fault brings, whatever the server does right: these and no others."""

    rules: tuple[str, ...]
    """Ids of rules of the judges. Where it is several, each can come of it."""
    scope: EffectScope
    least: int = 1
    """Findings that must come once the fault has fired; of scope `life` in each such life of the server."""
    most: int | None = None
    """Findings of a rule on one subject that it explains; None: all of them."""
    direction: Literal["load", "store"] | None = None
    """Only firings at copies of this direction bring it; None: all do."""
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """The values of the fault's parameters with which it comes."""
    releases: str = ""
    """The version range of vLLM on which it comes; empty: all."""


@dataclass(frozen=True)
class FaultKind:
    """One way of breaking an offloaded block."""

    name: str
    role: str
    """The half of the connector where it strikes: scheduler or worker."""
    site: str
    """The place where arrivals are counted."""
    contract: str
    """legal: the plug-in contract allows it, any misbehaviour is the server's bug. hostile: it breaks it."""
    effect: str
    evidence: str
    consequence: str
    heals: str
    parameters: Mapping[str, Parameter]
    keyed: bool = False
    """Whether an arrival is one block, with its key."""
    of_request: bool = True
    """Whether an arrival belongs to one request, so that its state can be asked for."""
    since: str = ""
    """The first release of vLLM that offers its place; empty when all do."""
    call: str = ""
    """The call to the connector that it answers, where not all releases make it."""
    excludes: str = ""
    """Faults with the same word here cannot live in one phase: they would fight over the same arrivals."""
    declared: tuple[Effect, ...] = ()
    """The findings that come of it. A legal fault brings none."""
    undeclared: str = ""
    """Which effects cannot be predicted, and why: a scenario with them says what it expects."""

    @property
    def releases(self) -> str:
        """The releases of vLLM that offer its place."""
        return f"from {self.since} on" if self.since else "in all releases"
