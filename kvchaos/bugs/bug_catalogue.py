"""Known bugs, one file each under `known_bugs/`: what a file says, and what it makes a run expect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from pydantic import Field, field_validator, model_validator

from chaos import fault_catalogue as faults
from history.expected_findings import Expectation, ExpectedBug, Subjects
from history.jsonl import one_line
from history.scenario import Scenario
from history.strict_model import Name, RuleName, Strict, read_model
from history.strict_yaml import BadYaml, Value
from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from oracles import ORACLES, all_rules
from oracles.findings import oracle_of

UPSTREAM = re.compile(r"(?P<repository>[a-z]+)-(?P<kind>pr-)?(?P<number>\d+)")
"""An id that names an issue or a pull request."""
SENTENCE_END = re.compile(r"[.](?:\s|$)")
SENTENCES = 4
"""Most sentences of a mechanism."""
IssueLink = Annotated[str, Field(pattern=r"^https://\S+$", max_length=200)]
ReleaseText = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Result = Literal["shows", "does not show", "unclear"]
Impact = Literal["server crashes", "requests hang", "wrong answers", "wrong status", "wrong metrics"]
"""Impact on the operator of a server, the worst first."""


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
            raise ValueError("give the scenario, or a note on how the release was tested")
        return self


class Shows(Strict):
    """The findings by which a bug shows in a scenario."""

    scenario: Name
    releases: str | None = None
    """A version range within that of the bug; None: all of it."""
    always: tuple[RuleName, ...] = ()
    """Rules that every such run breaks. The name of an oracle stands for any of its rules."""
    by_chance: tuple[RuleName, ...] = ()
    """Rules that such a run may break. The name of an oracle stands for all that it finds, and for what it
    cannot judge."""
    hides: tuple[Name, ...] = ()
    """Bugs that show only by chance in this scenario where this one does, since it ends the run early."""
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
    """Guidance for the operator of a server; each field is a sentence."""

    impact: Impact
    when: str = Field(min_length=1, max_length=300, pattern=r"\.$")
    """The settings and the workload with which it appears."""
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
    """At most four sentences."""
    guidance: Guidance | None = None
    """None: not written yet."""
    signatures: tuple[str, ...] = ()
    """Signatures of its causes, as in `verdict.json`. If a rule has signatures here, a cause of that rule
    with another signature is not this bug."""
    shows: tuple[Shows, ...] = ()
    """Scenarios that show it; empty: no scenario of kvchaos is known to."""

    @field_validator("mechanism")
    @classmethod
    def _is_short(cls, mechanism: str) -> str:
        count = len(SENTENCE_END.findall(mechanism.strip()))
        if not 1 <= count <= SENTENCES:
            raise ValueError(f"write at most {SENTENCES} sentences, each with a full stop; it has {count}")
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


def contains(releases: str, release: Version) -> bool:
    """Whether a range has a release; those before a release count as it does."""
    return SpecifierSet(releases, prereleases=True).contains(release)


def range_problem(releases: str) -> str | None:
    """The problem of a range as written in a file; None when it is valid."""
    try:
        SpecifierSet(releases)
    except InvalidSpecifier:
        return f'{releases!r} is not a version range such as ">=0.16,<0.19"'
    return None


FOLDER = "known_bugs"


@cache
def known_bugs() -> tuple[KnownBug, ...]:
    """The known bugs that come with kvchaos, by id. Raises UsageError."""
    return load_bugs(beside_packages(FOLDER))


def find_bug(wanted: str, bugs: Sequence[KnownBug]) -> KnownBug:
    """The bug with this id. Raises UsageError."""
    for bug in bugs:
        if bug.id == wanted:
            return bug
    raise UsageError(f"no known bug {wanted}; see: kvchaos bugs")


def load_bugs(folder: Path) -> tuple[KnownBug, ...]:
    """All files of a folder, by id. Raises UsageError with file, key and problem."""
    try:
        read = [(path, read_model(path, parse_bug)) for path in sorted(folder.glob("*.yaml"))]
    except BadYaml as error:
        raise UsageError(str(error)) from error
    known = {bug.id for _, bug in read}
    for path, bug in read:
        for problem in problems(bug, path.stem, known):
            raise UsageError(f"{path}: {one_line(problem)}")
    return tuple(bug for _, bug in read)


def parse_bug(content: Value) -> KnownBug:
    """A bug from plain values. Raises pydantic.ValidationError."""
    # By way of JSON, since strict validation of Python objects wants tuples and YAML has none.
    return KnownBug.model_validate_json(msgspec.json.encode(content))


def problems(bug: KnownBug, stem: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with a bug in a file of this name, among bugs with these ids."""
    if bug.id != stem:
        yield f"id: {bug.id} is in a file named {stem}.yaml; name the file {bug.id}.yaml"
    found = UPSTREAM.fullmatch(bug.id)
    if found is not None and not any(link.endswith(f"/{found['number']}") for link in bug.links[:1]):
        yield f"links: the first must be that of {bug.reference}, which the id names"
    if wrong := range_problem(bug.releases):
        yield f"releases: {wrong}"
    for number, shows in enumerate(bug.shows):
        yield from _shows_problems(f"shows.{number}", shows, known)
    rules = {rule.id for rule in all_rules()}
    for number, text in enumerate(bug.signatures):
        if text.partition(":")[0] not in rules:
            yield f"signatures.{number}: {text} does not begin with a rule; see: kvchaos oracles --rules"


def _shows_problems(key: str, shows: Shows, known: Collection[str]) -> Iterator[str]:
    oracles, rules = {oracle.name for oracle in ORACLES}, {rule.id for rule in all_rules()}
    if shows.releases is not None and (wrong := range_problem(shows.releases)):
        yield f"{key}.releases: {wrong}"
    for name in (*shows.always, *shows.by_chance):
        if name not in oracles | rules:
            yield f"{key}: no rule or oracle named {name}; see: kvchaos oracles --rules"
    named = {*shows.always, *shows.by_chance}
    for rule in shows.subjects:
        if rule not in rules:
            yield f"{key}.subjects: no rule named {rule}; see: kvchaos oracles --rules"
        if named.isdisjoint((rule, oracle_of(rule))):
            yield f"{key}.subjects: {rule} is neither in always nor in by_chance; add it to one of them"
    for other in shows.hides:
        if other not in known:
            yield f"{key}.hides: no known bug {other}; see: kvchaos bugs"
    if shows.declared_by is not None and shows.declared_by not in faults.KINDS:
        yield f"{key}.declared_by: no fault named {shows.declared_by}; see: kvchaos faults"


def expectation_for(scenario: Scenario, release: Version, bugs: Sequence[KnownBug]) -> Expectation:
    """What is expected of a scenario on a release.

    The scenario's own entry if it has `expect`, otherwise the findings of the release's known bugs. Without
    both, everything is expected to pass.
    """
    if scenario.expect is None:
        return of_bugs(scenario.name, release, bugs)
    for entry in scenario.expect:
        if contains(entry.releases, release):
            return entry
    return Expectation(releases=f"=={release}")


def of_bugs(scenario: str, release: Version, bugs: Sequence[KnownBug]) -> Expectation:
    """The expectation that follows from the known bugs of a release that show in a scenario."""
    showing = [
        (bug, shows) for bug in bugs for shows in bug.showing(scenario, release) if shows.declared_by is None
    ]
    hidden = {name for _, shows in showing for name in shows.hides}
    expected = [_expected(bug, shows, hidden=bug.id in hidden) for bug, shows in showing]
    return Expectation(
        releases=f"=={release}",
        fail=_unique(rule for bug in expected for rule in bug.always),
        collateral=_unique(rule for bug in expected for rule in bug.by_chance),
        issue=", ".join(bug.reference for bug in expected) or None,
        bugs=tuple(expected),
    )


def declared_bugs(
    scenario: str, release: Version, bugs: Sequence[KnownBug]
) -> dict[str, tuple[RuleName, ...]]:
    """The known bugs of a release that a fault of the scenario brings as its declared effect: rules by id."""
    return {
        bug.id: (*shows.always, *shows.by_chance)
        for bug in bugs
        for shows in bug.showing(scenario, release)
        if shows.declared_by is not None
    }


def expected_somewhere(scenario: Scenario, bugs: Sequence[KnownBug]) -> set[str]:
    """The rules that the scenario is expected to break, always or by chance, on whatever release."""
    if scenario.expect is not None:
        return {rule for entry in scenario.expect for rule in (*entry.fail, *entry.collateral)}
    return {rule for shows in _undeclared(scenario, bugs) for rule in (*shows.always, *shows.by_chance)}


def certain_somewhere(scenario: Scenario, bugs: Sequence[KnownBug]) -> set[str]:
    """The rules that the scenario must break, on whatever release."""
    if scenario.expect is not None:
        return {rule for entry in scenario.expect for rule in entry.fail}
    return {rule for shows in _undeclared(scenario, bugs) for rule in shows.always}


def _undeclared(scenario: Scenario, bugs: Sequence[KnownBug]) -> Iterator[Shows]:
    for bug in bugs:
        for shows in bug.shows:
            if shows.scenario == scenario.name and shows.declared_by is None:
                yield shows


def _expected(bug: KnownBug, shows: Shows, *, hidden: bool) -> ExpectedBug:
    always = () if hidden else shows.always
    by_chance = _unique((*shows.always, *shows.by_chance)) if hidden else shows.by_chance
    return ExpectedBug(
        id=bug.id,
        reference=bug.reference,
        title=bug.title,
        mechanism=bug.mechanism,
        link=bug.links[0] if bug.links else None,
        always=always,
        by_chance=by_chance,
        signatures=bug.signatures,
        subjects=shows.subjects,
    )


def _unique(rules: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rules))
