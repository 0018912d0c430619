"""What known bugs are expected to do at another scale than that of the tests. Pure."""

from __future__ import annotations

from history.expected_findings import Expectation


def by_chance(expectation: Expectation) -> Expectation:
    """The same bugs, none of which has to show."""
    bugs = tuple(
        bug.model_copy(update={"always": (), "by_chance": tuple(dict.fromkeys(bug.rules))})
        for bug in expectation.bugs
    )
    rules = tuple(dict.fromkeys((*expectation.fail, *expectation.collateral)))
    return expectation.model_copy(update={"fail": (), "collateral": rules, "bugs": bugs})
