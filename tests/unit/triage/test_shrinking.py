"""The search for the smallest state: minimal on all small cases, and only valid states are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvchaos.triage.shrinking import (
    Precision,
    Search,
    ShrinkStep,
    list_step,
    number_step,
    shrink,
    single_step,
    smallest_number,
    smallest_subset,
)

Items = frozenset[int]
Found = TypeVar("Found")


def subset_found(count: int, fails: Callable[[Items], bool]) -> tuple[Items, list[Items]]:
    """The smallest subset by the search, and all that it tried."""
    kept, tried = frozenset(range(count)), []
    search = smallest_subset(count)
    try:
        chosen = next(search)
        while True:
            tried.append(frozenset(chosen))
            failed = fails(tried[-1])
            kept = tried[-1] if failed else kept
            chosen = search.send(failed)
    except StopIteration:
        return kept, tried


def number_found(value: int, least: int, precision: Precision, threshold: int) -> tuple[int, list[int]]:
    """The smallest number that fails, where those from the threshold on do; and all that were tried."""
    found, tried = value, []
    search = smallest_number(value, least, precision)
    try:
        chosen = next(search)
        while True:
            tried.append(chosen)
            failed = chosen >= threshold
            found = chosen if failed else found
            chosen = search.send(failed)
    except StopIteration:
        return found, tried


@pytest.mark.parametrize("count", range(7))
def test_every_needed_subset_of_up_to_six_items_is_found(count: int) -> None:
    for size in range(count + 1):
        for needed in map(frozenset, combinations(range(count), size)):
            assert subset_found(count, needed.issubset)[0] == needed


@given(st.sets(st.frozensets(st.integers(0, 5))), st.integers(1, 6))
def test_no_item_of_the_result_can_be_left_out_whatever_fails(failing: set[Items], count: int) -> None:
    everything = frozenset(range(count))
    fails = {items for items in failing if items < everything} | {everything}
    found, _ = subset_found(count, fails.__contains__)
    assert found in fails
    assert all(found - {item} not in fails for item in found)


def test_one_needed_item_of_a_thousand_takes_few_tries() -> None:
    found, tried = subset_found(1000, lambda items: 700 in items)
    assert found == {700}
    assert len(tried) < 40


@given(st.integers(1, 300), st.integers(0, 300))
def test_exact_number_is_the_smallest_that_fails(value: int, threshold: int) -> None:
    found, tried = number_found(value, 1, "exact", threshold)
    assert found == min(max(threshold, 1), value)
    assert len(tried) == len(set(tried))


@given(st.integers(1, 300), st.integers(0, 300))
def test_coarse_number_is_within_an_eighth(value: int, threshold: int) -> None:
    found, _ = number_found(value, 1, "coarse", threshold)
    smallest = min(max(threshold, 1), value)
    assert smallest <= found <= smallest + max(found // 8, 1)


State = tuple[frozenset[str], int, bool]
"""Faults, requests, and whether a setting is the default."""


def steps_of(state: State) -> Iterator[ShrinkStep[State]]:
    faults, requests, default = state
    names = sorted(faults)
    yield list_step(
        "faults",
        len(names),
        lambda kept: (frozenset(names[at] for at in kept), requests, default),
    )
    yield number_step("requests", requests, 1, lambda count: (faults, count, default))
    yield single_step("setting", lambda: (faults, requests, True))


def smallest(start: State, fails: Callable[[State], bool], precision: Precision = "exact") -> State:
    return found_by(shrink(start, steps_of, precision), fails)


def found_by(search: Search[Found], fails: Callable[[Found], bool]) -> Found:
    """The result of a search."""
    try:
        reduction = next(search)
        while True:
            reduction = search.send(fails(reduction.state))
    except StopIteration as end:
        found: Found = end.value
        return found


def test_parts_that_depend_on_each_other_are_all_shrunk() -> None:
    """Fewer requests are enough only without the second fault, and it can go only in the default setting."""

    def fails(state: State) -> bool:
        faults, requests, default = state
        return "a" in faults and ("b" in faults or default) and requests >= (50 if "b" in faults else 3)

    start: State = (frozenset("abc"), 120, False)
    assert smallest(start, fails) == (frozenset("a"), 3, True)


def test_nothing_smaller_leaves_the_start() -> None:
    start: State = (frozenset("ab"), 7, False)
    assert smallest(start, lambda state: False) == start


def test_everything_is_left_out_that_is_not_needed() -> None:
    assert smallest((frozenset("abcde"), 1000, False), lambda state: True) == (frozenset(), 1, True)


def test_invalid_states_are_rejected_without_a_try() -> None:
    def invalid(state: int) -> Iterator[ShrinkStep[int]]:
        yield number_step("value", state, 0, lambda value: None if value % 2 else value)

    tried: list[int] = []

    def fails(value: int) -> bool:
        tried.append(value)
        return value >= 4

    assert found_by(shrink(9, invalid, "exact"), fails) == 4
    assert all(value % 2 == 0 for value in tried)
