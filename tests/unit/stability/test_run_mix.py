"""The mix of a night: the positive control first, shares by weight, the same choices after a restart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from kvchaos.stability.run_mix import RunChoice, RunMix

CONTROL = RunChoice("corruption-canary", 1)
MIX = RunMix(
    night="2026-11-30T02:00:00Z",
    scenarios=("aborts", "chat-return", "evict-storm"),
    control=CONTROL,
    failed=(RunChoice("aborts", 7), RunChoice("aborts", 8)),
    known=(RunChoice("mid-prefill-preemption", 1),),
)


def test_first_run_of_a_night_is_the_positive_control() -> None:
    first = MIX.at(0)
    assert (first.category, first.choice) == ("positive control", CONTROL)
    assert all(MIX.at(number).category != "positive control" for number in range(1, 50))


def test_shares_follow_the_weights() -> None:
    counts = Counter(MIX.at(number).category for number in range(1, 101))
    assert counts == {"new": 60, "failed before": 20, "known bug": 20}


def test_share_of_an_empty_category_goes_to_the_others() -> None:
    quiet = replace(MIX, failed=(), known=())
    assert {quiet.at(number).category for number in range(1, 20)} == {"new"}


def test_restarted_night_makes_the_same_choices() -> None:
    again = replace(MIX)
    assert [MIX.at(number) for number in range(40)] == [again.at(number) for number in range(40)]


def test_another_night_has_other_seeds() -> None:
    other = replace(MIX, night="2026-12-01T02:00:00Z")
    seeds = [{mix.at(number).choice.seed for number in range(1, 100)} for mix in (MIX, other)]
    new = [found - {1, 7, 8} for found in seeds]
    assert not new[0] & new[1]


def test_new_seeds_reach_every_scenario_before_one_comes_again() -> None:
    new = [mix.choice for number in range(1, 40) if (mix := MIX.at(number)).category == "new"]
    for start in range(0, 18, 3):
        assert {choice.scenario for choice in new[start : start + 3]} == set(MIX.scenarios)
    assert len({choice.seed for choice in new}) == len(new)


def test_earlier_failures_come_in_turn() -> None:
    failed = [mix.choice for number in range(1, 30) if (mix := MIX.at(number)).category == "failed before"]
    assert failed[:4] == [*MIX.failed, *MIX.failed]
