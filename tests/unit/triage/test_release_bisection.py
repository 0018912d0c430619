"""The first and the last release that show a failure: right for every range, in few probes."""

from __future__ import annotations

import math

import pytest

from kvchaos.triage.release_bisection import ReleaseRange, bisect_releases
from kvchaos.triage.repeated_trials import Decision


def bisected(
    truth: list[Decision], start: int, known: dict[int, Decision] | None = None
) -> tuple[ReleaseRange, list[int]]:
    """The result, and the releases that were examined."""
    probed: list[int] = []
    probes = bisect_releases(len(truth), {start: "shows", **(known or {})})
    try:
        index = next(probes)
        while True:
            probed.append(index)
            index = probes.send(truth[index])
    except StopIteration as end:
        found: ReleaseRange = end.value
        return found, probed


def truth_of(count: int, first: int, last: int) -> list[Decision]:
    return ["shows" if first <= index <= last else "absent" for index in range(count)]


@pytest.mark.parametrize("count", range(1, 10))
def test_every_range_is_found_from_every_release_that_shows_it(count: int) -> None:
    for first in range(count):
        for last in range(first, count):
            for start in range(first, last + 1):
                found, probed = bisected(truth_of(count, first, last), start)
                assert (found.first, found.last) == (first, last)
                assert found.absent_before == (first - 1 if first else None)
                assert found.absent_after == (last + 1 if last < count - 1 else None)
                assert len(probed) == len(set(probed))
                assert start not in probed
                assert found.untested == []


def test_sixteen_releases_take_at_most_two_bisections() -> None:
    most = 2 + 2 * math.ceil(math.log2(16))
    for last in range(5, 16):
        assert len(bisected(truth_of(16, 5, last), 5)[1]) <= most


def test_given_release_without_the_failure_is_not_examined() -> None:
    found, probed = bisected(truth_of(9, 4, 8), 6, {2: "absent"})
    assert (found.first, found.absent_before) == (4, 3)
    assert min(probed) > 2


def test_untestable_releases_are_passed_over() -> None:
    truth = truth_of(9, 4, 8)
    truth[3] = truth[2] = truth[0] = "untestable"
    found, _ = bisected(truth, 6)
    assert (found.first, found.absent_before, found.untested) == (4, 1, [2, 3])


def test_no_release_to_examine_before_the_start() -> None:
    truth = truth_of(5, 2, 4)
    truth[0] = truth[1] = "untestable"
    found, _ = bisected(truth, 3)
    assert (found.first, found.absent_before) == (2, None)


def test_search_needs_a_release_that_shows_the_failure() -> None:
    probes = bisect_releases(3, {1: "absent"})
    with pytest.raises(ValueError, match="release"):
        next(probes)
