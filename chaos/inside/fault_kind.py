"""A kind of fault: its injection point, its contract, its evidence, its parameters and its declared effects.

What several kinds share stands below: parameters, texts and effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from history.protocol.schedule import Value

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
    """Only firings at copies of this direction bring it; None: all do."""
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """The values of the fault's parameters with which it comes."""
    releases: str = ""
    """The version range of vLLM on which it comes; empty: all."""


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
    undeclared: str = ""
    """The effects that cannot be predicted, and why: a scenario with them states what it expects."""

    @property
    def releases(self) -> str:
        """The releases of vLLM that have its injection point."""
        return f"from {self.since} on" if self.since else "in all releases"


DRY_RUN = Parameter(False, about="decide and journal, but change nothing")
DIRECTION = Parameter("load", choices=("load", "store", "both"), about="which copies")

ENGINE_DIES = "nobody catches it: the engine dies"
NEVER = "never: the engine is gone"


DIES = Effect(rules=("server-alive/died",), scope="life", most=1)
"""The engine ends soon after the firing, and the server with it."""

DAMAGED = Effect(rules=("answers/not-golden", "answers/not-repeated"), scope="readers", most=1)
"""Some answer of those that read the block differs: from the golden one, else from another of its prompt."""

NOT_A_NUMBER = Effect(
    rules=("outcomes/truncated-stream", "outcomes/request-failed", *DAMAGED.rules), scope="readers", most=1
)
"""Some request of those that read the block fails, since a logprob is not a number, or its answer differs."""

FLIPPED = tuple(
    Effect(
        rules=DAMAGED.rules,
        scope=DAMAGED.scope,
        most=DAMAGED.most,
        when={"word_bytes": (number_bytes,), "bit": tuple(range(mantissa))},
    )
    for number_bytes, mantissa in ((2, 7), (4, 23), (8, 52))
)
"""The same by a bit of the mantissa, of numbers of so many bytes. Those of 2 may be bfloat16."""

LOST_LOAD = (
    Effect(
        rules=("progress/deadlock", "progress/stall", "progress/deadline"), scope="wait", direction="load"
    ),
    Effect(
        rules=("outcomes/truncated-stream", "outcomes/request-failed"),
        scope="struck",
        least=0,
        most=1,
        direction="load",
    ),
    Effect(rules=("transfer-invariants/load-never-ended",), scope="rest", most=1, direction="load"),
    Effect(rules=("drained/blocks-leaked",), scope="rest", most=1, direction="load"),
)
"""The request waits until its client aborts it, and its blocks are never freed."""
