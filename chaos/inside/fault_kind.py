"""A kind of fault inside the server as one unit: texts, parameters, injection, evidence, effect and proof.

What several kinds share stands below: parameters, texts and effects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import Firing
from history.protocol.schedule import Value

if TYPE_CHECKING:
    # Only the suite calls the checks: the server has no more of `history` than its protocol.
    from history.fired_fault import Doubt, FiredFault

CONFORMING = "conforming"
CONTRACT_VIOLATING = "contract-violating"

SCHEDULER = "scheduler"
WORKER = "worker"

EffectScope = Literal["struck", "readers", "life", "wait", "rest"]
"""Which findings of a rule are of a fault's doing; see `history.expected_findings.DeclaredEffect`."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a fault with its bounds; `choices` for an enumeration."""

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
    """Only firings at copies of this direction have the effect; None: all have."""
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """The values of the fault's parameters with which it comes."""
    releases: str = ""
    """The version range of vLLM on which it comes; empty: all."""


EffectCheck = Callable[["FiredFault"], "Doubt | None"]
"""Whether a fault that fired had its effect: None, or the reason to doubt it."""


@dataclass(frozen=True)
class ProofCase:
    """The smallest run in which a fault can show itself."""

    trigger: Mapping[str, object] = field(default_factory=lambda: {"every": 2, "limit": 4})
    params: Mapping[str, Value] = field(default_factory=dict)
    ends_server: bool = False
    """Whether the server ends or stalls, so that the fault shares its run with no other."""
    needs_stores: bool = False
    """Whether it strikes stores, or blocks that are not in the tier."""
    needs_simultaneous_copies: bool = False
    spreads: bool = False
    """Whether damage may spread to other blocks, so that it shares no run with other damage."""
    shown: str = ""
    """The effect as text, in the table of proofs; empty for faults whose effect is counted there."""
    log_line: re.Pattern[str] | None = None
    """What the server's log says of the effect, if it does."""


@dataclass(frozen=True)
class ContractCase:
    """An injection into a sample of its injection point, in the server's interpreter, before a run."""

    name: str
    check: Callable[[Any], None]
    """Gets the injection point after the injection. Raises AssertionError."""
    params: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault in the server's process."""

    name: str
    role: str
    """The role of the connector that injects it: scheduler or worker."""
    site: str
    """The injection point whose invocations are counted."""
    contract: str
    """conforming: the plug-in contract allows it, any misbehaviour is the server's bug.
    contract-violating: it breaks it."""
    effect: str
    evidence: str
    consequence: str
    heals: str
    parameters: Mapping[str, Parameter]
    firing: type[Firing]
    """The type of its evidence."""
    inject: Callable[[Injection, Any], None]
    """Applies it at an injection point, see `injection_points`, and calls `fired` or `refused`."""
    check: EffectCheck
    proof: ProofCase
    observe: Callable[[Any], None] | None = None
    """Called at each invocation of its site while it is armed, after all injections."""
    conflict: Callable[[Mapping[str, Value]], str | None] = lambda params: None
    """What is wrong with a set of parameters that are right one by one."""
    contract_cases: tuple[ContractCase, ...] = ()
    keyed: bool = False
    """Whether an invocation is for one block, with its key."""
    of_request: bool = True
    """Whether an invocation belongs to one request, so that the request's state is known."""
    since: str = ""
    """The first release of vLLM that has its injection point; empty when all do."""
    call: str = ""
    """The connector's method that injects it, where not all releases call it."""
    excludes: str = ""
    """Faults of the same group cannot be armed in one phase: they would compete for the same invocations."""
    declared: tuple[Effect, ...] = ()
    """The findings that it explains. A conforming fault explains none."""
    outlives_reset: bool = False
    """Whether its damage can reach requests after a reset of all caches."""
    undeclared: str = ""
    """The effects that cannot be predicted, and why: a scenario with them states what it expects."""

    @property
    def releases(self) -> str:
        """The releases of vLLM that have its injection point."""
        return f"from {self.since} on" if self.since else "in all releases"


DRY_RUN = Parameter(False, about="decide and journal, but change nothing")
DIRECTION = Parameter("load", choices=("load", "store", "both"), about="which copies")

DELAY = {
    "min_ms": Parameter(20, 0, 60_000, about="shortest delay"),
    "max_ms": Parameter(200, 0, 60_000, about="longest delay"),
}


def delay_s(injection: Injection) -> float:
    """The delay of an injection, between its bounds."""
    low, high = float(injection.params["min_ms"]), float(injection.params["max_ms"])
    return (low + (high - low) * injection.draw("delay") / 2**64) / 1e3


SCHEDULER_DIES = "the engine asserts and dies (vllm#39732)"
ENGINE_DIES = "no code catches it, and the engine dies"
NEVER = "never: the engine is gone"


DIES = Effect(rules=("server-alive/died",), scope="life", most=1)
"""The engine ends soon after the firing, and the server with it."""


def server_died(case: FiredFault) -> Doubt | None:
    """The server died after the first strike."""
    first = min(record.t_ns for record in case.fired)
    return None if case.server_died_after(first) else case.doubt("server-lived-on", "the server lived on")


DEATH = ProofCase(trigger={"nth": [2]}, ends_server=True)
"""The proof of a fault that the engine ends of."""
