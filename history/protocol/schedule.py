"""The schedule of the faults that are armed in a server: `armed.json` in the control directory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, get_args

import msgspec

State = Literal["queued", "loading", "prefill", "decode", "storing"]
"""queued: waits for its turn, also after a preemption. loading: its blocks are being loaded. prefill,
decode: runs, with its prompt still to be computed or done. storing: has stores under way, beside the
others or after its end."""
STATES: tuple[State, ...] = get_args(State)

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A journal with a larger number could not be read."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
FaultId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Value = bool | int | float | str
"""Value of a parameter."""


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which invocations of the site fire: of `probability`, `nth`, `every` and `key_share` one is set."""

    probability: Share | None = None
    """Share of the invocations, chosen by hash."""
    nth: tuple[Whole, ...] | None = None
    """These, counted from 0."""
    every: Positive | None = None
    """Every so many, the first at `offset`."""
    offset: Whole = 0
    key_share: Share | None = None
    """Share of block keys, chosen by hash: a chosen key fires at every invocation."""
    limit: Positive | None = None
    """The fault ends after so many firings."""
    states: Annotated[tuple[State, ...], msgspec.Meta(min_length=1)] | None = None
    """Invocations of requests in none of these states are not even counted."""

    @property
    def ways(self) -> int:
        """How many of the ways to choose are set."""
        return sum(
            selection is not None for selection in (self.probability, self.nth, self.every, self.key_share)
        )

    def counts(self, states: Collection[str]) -> bool:
        """Whether an invocation of a request in these states is one of the fault's."""
        return self.states is None or any(state in self.states for state in states)

    def spent(self, fired: int) -> bool:
        """Whether the fault has ended after so many firings."""
        return self.limit is not None and fired >= self.limit


class ArmedFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault as armed by the conductor."""

    id: FaultId
    kind: str
    trigger: Trigger
    params: dict[str, Value]


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is armed now. `epoch` grows by one each time the conductor arms or heals."""

    v: Literal[1]
    epoch: Whole
    seed: Whole
    lease_s: Annotated[float, msgspec.Meta(ge=0.0)]
    """Faults end by themselves when the conductor has not renewed its lease for so long."""
    faults: tuple[ArmedFault, ...]
