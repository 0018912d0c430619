"""What a release is expected to show: known bugs, failing oracles, declared effects, allowed log lines."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from history.strict_model import Name, RuleName, Strict

Subjects = dict[RuleName, tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]]
"""Patterns of the subjects of findings, by rule: the key of a series, a metric, or the kind of the subject.
`*` stands for any text."""


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
        """All rules that the bug can break, those that it always breaks first."""
        return (*self.always, *self.by_chance)


RENAMED = {"ledger": "transfer-invariants", "witnesses": "metrics-crosscheck"}
"""Names of oracles in earlier versions, and now."""


class Expectation(Strict):
    """What a server release is expected to do. Strict in both directions."""

    releases: str
    """A version range such as ">=0.16,<0.19"; the first matching entry counts."""
    fail: tuple[RuleName, ...] = ()
    """Rules that must be broken, such as `counters/decreased`. Other rules of the same oracle must not be,
    unless they follow from another finding. The name of an oracle stands for any of its rules."""
    collateral: tuple[RuleName, ...] = ()
    """Rules that may be broken here, too: by chance, or on some of the releases. The name of an oracle stands
    for all that it finds, and for what it cannot judge."""
    issue: str | None = None
    """The upstream issue behind them."""
    bugs: tuple[ExpectedBug, ...] = ()
    """The known bugs behind them. None where a scenario file says what to expect, and in runs of earlier
    versions."""

    @field_validator("fail", "collateral", mode="before")
    @classmethod
    def _current_names(cls, names: object) -> object:
        """Runs of earlier versions name two oracles otherwise."""
        if not isinstance(names, list | tuple):
            return names
        return tuple(RENAMED.get(name, name) if isinstance(name, str) else name for name in names)

    @model_validator(mode="after")
    def _has_reason(self) -> Expectation:
        if self.fail and self.issue is None:
            raise ValueError("an expected failure names its issue")
        if self.collateral and self.issue is None:
            raise ValueError("collateral goes with fail, or names the issue by chance of which it fails")
        return self


EffectScope = Literal["struck", "readers", "life", "wait", "rest"]


class DeclaredEffect(Strict):
    """Findings that a fault of the plan brings. The fault explains these, and no others.

    Scopes:
    struck: on a request that a firing names.
    readers: on a request that read damage or a result of it, by the provenance log. Without that log: on a
    request that a firing names, or that shares the first block of its prompt. It ended after the firing and
    was sent before the damage was gone.
    life: on the server, when one of its lives ends soon after a firing in it.
    wait: on a request that a firing names, or on the server while such a request is on its way.
    rest: on the server or a process of it, after a firing in its last life.
    """

    fault: Name
    """Its id."""
    rules: tuple[RuleName, ...] = Field(min_length=1)
    """Each of them can come of it."""
    scope: EffectScope
    least: int = Field(ge=0)
    """Findings that must come when the fault has fired; of scope `life` in each such life."""
    most: int | None = Field(default=None, ge=1)
    """Findings of a rule on one subject that are explained; None: all."""
    direction: Literal["load", "store"] | None = None
    """Only firings at copies of this direction have the effect."""


class AllowedLine(Strict):
    """A line of the server's log that tells of a crash elsewhere and is no violation in this scenario."""

    pattern: str = Field(min_length=1)
    """Regular expression, looked for anywhere in the line."""
    why: str = Field(min_length=1)

    @field_validator("pattern")
    @classmethod
    def _says_which(cls, pattern: str) -> str:
        try:
            matches_all = re.search(pattern, "") is not None
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if matches_all:
            raise ValueError("a pattern that matches nothing at all allows every line")
        return pattern
