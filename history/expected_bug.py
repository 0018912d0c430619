"""A known bug of the server under test, as the plan of a run names it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from history.strict import Name, RuleName, Strict

Subjects = dict[RuleName, tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]]
"""By rule, patterns of what its findings are about: the key of a series, the name of a metric, or the kind of
the subject. `*` stands for any text."""


class ExpectedBug(Strict):
    """A known bug of the release under test that may show in the run."""

    id: Name
    reference: str
    """How people name it, such as `vllm#36533`."""
    title: str
    mechanism: str
    link: str | None = None
    always: tuple[RuleName, ...] = ()
    """Rules that are broken in every such run."""
    by_chance: tuple[RuleName, ...] = ()
    """Rules that may be broken."""
    signatures: tuple[str, ...] = ()
    """Where a rule has any, a cause of that rule with another signature is not this bug."""
    subjects: Subjects = Field(default_factory=dict)
    """Where a rule has any, a finding of that rule on another subject is not this bug."""

    @property
    def rules(self) -> tuple[str, ...]:
        return (*self.always, *self.by_chance)
