"""One known bug, as written in a file under `known_bugs/`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from packaging.version import Version
from pydantic import Field, field_validator, model_validator

from history.expected_findings import Subjects
from history.strict_yaml import Name, RuleName, Strict
from kvchaos.bugs.release_range import contains

UPSTREAM = re.compile(r"(?P<repository>[a-z]+)-(?P<kind>pr-)?(?P<number>\d+)")
"""An id that names an issue or a pull request."""
SENTENCE_END = re.compile(r"[.](?:\s|$)")
SENTENCES = 2
"""Of a mechanism, at most."""
IssueLink = Annotated[str, Field(pattern=r"^https://\S+$", max_length=200)]
ReleaseText = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Result = Literal["shows", "does not show", "unclear"]
Impact = Literal["server ends", "requests hang", "wrong answers", "wrong status", "wrong metrics"]
"""What it does to somebody who runs the server, the worst first."""


class Tested(Strict):
    """One look at a release."""

    release: ReleaseText
    scenario: Name | None = None
    """None: it was looked at in another way, which `note` says."""
    result: Result
    note: str | None = Field(default=None, min_length=1, max_length=300)

    @model_validator(mode="after")
    def _says_how(self) -> Tested:
        if self.scenario is None and self.note is None:
            raise ValueError("give the scenario, or a note that says how the release was tested")
        return self


class Shows(Strict):
    """By which findings the bug shows in a scenario."""

    scenario: Name
    releases: str | None = None
    """A version range within that of the bug; None: all of it."""
    always: tuple[RuleName, ...] = ()
    """Rules that every such run breaks. The name of an oracle stands for any of its rules."""
    by_chance: tuple[RuleName, ...] = ()
    """Rules that such a run may break. The name of an oracle stands for all that it finds, and for what it
    cannot judge."""
    hides: tuple[Name, ...] = ()
    """Bugs that do not show in this scenario where this one does, since it ends the run before them."""
    declared_by: Name | None = None
    """The kind of fault that declares these findings as its effect: no expectation comes of them."""
    subjects: Subjects = Field(default_factory=dict)
    """Where a rule has any, a finding of that rule on another subject is not this bug."""

    @model_validator(mode="after")
    def _shows_by_something(self) -> Shows:
        if not self.always and not self.by_chance:
            raise ValueError("give rules in always or in by_chance")
        return self


class Guidance(Strict):
    """What somebody who runs the server needs to know of a bug; each a sentence."""

    impact: Impact
    when: str = Field(min_length=1, max_length=300, pattern=r"\.$")
    """With which settings and under which workload it shows."""
    advice: str = Field(min_length=1, max_length=300, pattern=r"\.$")
    """How to avoid it, or to live with it."""


class KnownBug(Strict):
    """A bug of a server, on which releases it is, how it shows, and where it was looked for."""

    id: Name
    """`vllm-NUMBER` of an issue, `vllm-pr-NUMBER` of a pull request, `unreported-WORDS` without either."""
    title: str = Field(min_length=1, max_length=120)
    links: tuple[IssueLink, ...] = ()
    """The first is that of the issue or pull request in the id."""
    releases: str
    """A version range such as ">=0.16,<0.19"."""
    tested: tuple[Tested, ...] = ()
    mechanism: str
    """At most two sentences."""
    guidance: Guidance | None = None
    """None: nobody has written it yet."""
    signatures: tuple[str, ...] = ()
    """Of its causes, as `verdict.json` has them. Where a rule has any, a cause of that rule with another
    signature is not this bug."""
    shows: tuple[Shows, ...] = ()
    """Empty: no scenario of the suite finds it, or none is sure to."""

    @field_validator("mechanism")
    @classmethod
    def _is_short(cls, mechanism: str) -> str:
        count = len(SENTENCE_END.findall(mechanism.strip()))
        if not 1 <= count <= SENTENCES:
            raise ValueError(
                f"say it in {SENTENCES} sentences at most, each with a full stop; it has {count}"
            )
        return " ".join(mechanism.split())

    @property
    def reference(self) -> str:
        """How people name it: `vllm#36533`, `vllm PR#37354`, its id where it names neither."""
        found = UPSTREAM.fullmatch(self.id)
        if found is None:
            return self.id
        return f"{found['repository']}{' PR' if found['kind'] else ''}#{found['number']}"

    def on(self, release: Version) -> bool:
        """Whether the release has it."""
        return contains(self.releases, release)

    def showing(self, scenario: str, release: Version) -> list[Shows]:
        """How it shows in a scenario on a release."""
        return [
            shows
            for shows in self.shows
            if shows.scenario == scenario
            and self.on(release)
            and (shows.releases is None or contains(shows.releases, release))
        ]
