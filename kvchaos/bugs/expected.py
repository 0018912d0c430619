"""From the known bugs of a release to what a run on it is expected to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from packaging.version import Version

from history.expected_findings import Expectation, ExpectedBug
from history.scenario import Scenario
from history.strict_yaml import RuleName
from kvchaos.bugs.bug_file import KnownBug, Shows
from kvchaos.bugs.release_range import contains


def expectation_for(scenario: Scenario, release: Version, bugs: Sequence[KnownBug]) -> Expectation:
    """What the scenario itself says of the release, if it says anything of expectations; else what the known
    bugs of the release bring. Without both, everything is expected to pass."""
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
    expected = [_expected(bug, shows) for bug, shows in showing if bug.id not in hidden]
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


def _expected(bug: KnownBug, shows: Shows) -> ExpectedBug:
    return ExpectedBug(
        id=bug.id,
        reference=bug.reference,
        title=bug.title,
        mechanism=bug.mechanism,
        link=bug.links[0] if bug.links else None,
        always=shows.always,
        by_chance=shows.by_chance,
        signatures=bug.signatures,
        subjects=shows.subjects,
    )


def _unique(rules: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rules))
