"""A fault of a scenario: what is done, and by which trigger. `chaos` checks the parameters by kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from history.protocol import schedule
from history.protocol.schedule import State, Value
from history.strict import Name
from history.strict import Strict as Strict

Param = Value

Invocation = Annotated[int, Field(ge=0, lt=2**63)]
"""Number of an arrival at a site. Larger ones could not be read back from a journal."""


class Trigger(Strict):
    """When a fault strikes: by the count of arrivals at its site, or by block; exactly one way."""

    probability: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of arrivals, chosen by hash."""
    nth: tuple[Invocation, ...] | None = None
    """These arrivals, counted from 0."""
    every: int | None = Field(default=None, ge=1, lt=2**63)
    """Every so many arrivals, the first at `offset`."""
    key_share: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of block keys, chosen by hash: a chosen key is struck at every arrival."""
    offset: Invocation = 0
    limit: int | None = Field(default=None, ge=1, lt=2**63)
    """The fault ends after so many firings."""
    states: tuple[State, ...] | None = Field(default=None, min_length=1)
    """Count, and strike, only what concerns a request in one of these states."""

    @model_validator(mode="after")
    def _one_selection(self) -> Trigger:
        selections = (self.probability, self.nth, self.every, self.key_share)
        if sum(selection is not None for selection in selections) != 1:
            raise ValueError("give exactly one of probability, nth, every, key_share")
        if self.offset and self.every is None:
            raise ValueError("offset goes with every")
        if self.states is not None and len(set(self.states)) != len(self.states):
            raise ValueError("a state stands twice in states")
        return self

    def as_armed(self) -> schedule.Trigger:
        """As it stands in the schedule of a server."""
        return schedule.Trigger(**self.model_dump())


class FaultSpec(Strict):
    """One fault of a scenario: what is done, when, how (parameters are checked by `chaos`)."""

    id: Name
    kind: Name
    trigger: Trigger
    params: dict[str, Param] = Field(default_factory=dict)
    phase: Name | None = None
    """The one phase in which it lives; to be given when several phases have the role chaos."""
