"""A decision that depends on anything but seed, fault, site and arrival cannot be replayed or judged."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chaos.inside.trigger_decisions import draw, expected_firings, fires
from history.protocol.schedule import State, Trigger

UNTIMED = settings(deadline=None)
SEEDS = st.integers(0, 2**63 - 1)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
LIMITS = st.none() | st.integers(1, 50)
TRIGGERS = st.one_of(
    st.builds(Trigger, probability=st.floats(0.001, 1.0), limit=LIMITS),
    st.builds(Trigger, nth=st.lists(st.integers(0, 300), max_size=20).map(tuple), limit=LIMITS),
    st.builds(Trigger, every=st.integers(1, 40), offset=st.integers(0, 60), limit=LIMITS),
)


def struck(
    trigger: Trigger, seed: int = 1, fault: str = "f", site: str = "s", arrivals: int = 300
) -> list[int]:
    return list(expected_firings(trigger, seed, fault, site, arrivals))


@UNTIMED
@given(seed=SEEDS, fault=NAMES, probability=st.floats(0.01, 0.99))
def test_a_probability_is_the_share_of_arrivals_that_are_struck(
    seed: int, fault: str, probability: float
) -> None:
    arrivals = 2_000
    share = len(struck(Trigger(probability=probability), seed, fault, arrivals=arrivals)) / arrivals
    # Seven standard deviations: a right hash never gets there.
    assert abs(share - probability) < 7 * math.sqrt(probability * (1 - probability) / arrivals)


@UNTIMED
@given(seed=SEEDS, fault=NAMES)
def test_probability_one_strikes_every_arrival(seed: int, fault: str) -> None:
    assert struck(Trigger(probability=1.0), seed, fault) == list(range(300))


@UNTIMED
@given(trigger=TRIGGERS, seed=SEEDS, fault=NAMES, arrivals=st.integers(0, 300))
def test_a_fault_is_never_struck_more_often_than_its_limit(
    trigger: Trigger, seed: int, fault: str, arrivals: int
) -> None:
    found = struck(trigger, seed, fault, arrivals=arrivals)
    unlimited = Trigger(trigger.probability, trigger.nth, trigger.every, trigger.offset)
    assert found == struck(unlimited, seed, fault, arrivals=arrivals)[: trigger.limit]


@UNTIMED
@given(trigger=TRIGGERS, seed=SEEDS, fault=NAMES, arrivals=st.integers(0, 300))
def test_predicted_firings_equal_decisions_one_by_one(
    trigger: Trigger, seed: int, fault: str, arrivals: int
) -> None:
    fired: list[int] = []
    for n in range(arrivals):
        if not trigger.spent(len(fired)) and fires(trigger, seed, fault, "s", n):
            fired.append(n)
    assert fired == struck(trigger, seed, fault, arrivals=arrivals)


@pytest.mark.parametrize(
    ("wanted", "states", "counted"),
    [
        (None, (), True),
        (None, ("decode",), True),
        (("decode",), ("decode", "storing"), True),
        (("queued", "storing"), ("decode", "storing"), True),
        (("queued", "loading"), ("decode", "storing"), False),
        (("queued",), (), False),
    ],
)
def test_trigger_matches_any_listed_state_and_no_unknown_request(
    wanted: tuple[State, ...] | None, states: tuple[str, ...], counted: bool
) -> None:
    assert Trigger(every=1, states=wanted).counts(states) is counted


@UNTIMED
@given(trigger=TRIGGERS, seed=SEEDS, fault=NAMES, few=st.integers(0, 150), more=st.integers(0, 150))
def test_later_arrivals_do_not_change_what_was_decided(
    trigger: Trigger, seed: int, fault: str, few: int, more: int
) -> None:
    longer = struck(trigger, seed, fault, arrivals=few + more)
    assert [n for n in longer if n < few] == struck(trigger, seed, fault, arrivals=few)


@UNTIMED
@given(trigger=TRIGGERS, seed=SEEDS)
def test_same_seed_gives_the_same_firings(trigger: Trigger, seed: int) -> None:
    assert struck(trigger, seed) == struck(trigger, seed)


@UNTIMED
@given(one=SEEDS, other=SEEDS)
def test_different_seed_gives_different_firings(one: int, other: int) -> None:
    assume(one != other)
    trigger = Trigger(probability=0.5)
    assert struck(trigger, one) != struck(trigger, other)


@UNTIMED
@given(seed=SEEDS, one=NAMES, other=NAMES)
def test_faults_and_sites_draw_independently(seed: int, one: str, other: str) -> None:
    assume(one != other)
    trigger = Trigger(probability=0.5)
    assert struck(trigger, seed, fault=one) != struck(trigger, seed, fault=other)
    assert struck(trigger, seed, site=one) != struck(trigger, seed, site=other)


@UNTIMED
@given(seed=SEEDS, fault=NAMES, n=st.integers(0, 10**6))
def test_draw_is_a_separate_64_bit_number_for_each_purpose(seed: int, fault: str, n: int) -> None:
    numbers = [draw(seed, fault, "s", n, purpose) for purpose in ("", "block", "plane")]
    assert all(0 <= number < 2**64 for number in numbers)
    assert len(set(numbers)) == 3


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger(nth=(0, 3, 3, 7)), [0, 3, 7]),
        (Trigger(nth=(12, 2)), [2]),
        (Trigger(nth=()), []),
        (Trigger(nth=(1, 2, 3), limit=2), [1, 2]),
        (Trigger(every=4), [0, 4, 8]),
        (Trigger(every=1), list(range(10))),
        (Trigger(every=3, offset=2), [2, 5, 8]),
        (Trigger(every=3, offset=10), []),
        (Trigger(every=2, offset=1, limit=3), [1, 3, 5]),
        (Trigger(), []),
    ],
)
def test_counted_triggers_strike_exactly_the_arrivals_they_name(
    trigger: Trigger, expected: list[int]
) -> None:
    assert struck(trigger, arrivals=10) == expected
