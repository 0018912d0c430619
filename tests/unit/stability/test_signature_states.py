"""States of signatures over the nights: new once, ongoing, gone once, back after a pause."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import pytest

from kvchaos.stability.campaign_records import SignatureCount, StabilityNight
from kvchaos.stability.signature_states import State, track_signatures
from kvchaos.stability.stability_report import ordered_signatures
from kvchaos.stability.stability_store import StabilityHistory

NAME = "server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule"


def date(day: int) -> str:
    return f"2026-11-{day:02}T02:00:00Z"


def night(day: int) -> StabilityNight:
    return StabilityNight(
        night=date(day),
        build="0.32.0",
        runs=10,
        outcomes={"as expected": 10},
        categories={"new": 10},
        positive_control="found",
        seconds=300.0,
        complete=True,
    )


def count(day: int, runs: int = 2) -> SignatureCount:
    return SignatureCount(
        night=date(day), build="0.32.0", signature=NAME, count=runs, examples=[("aborts", 1, "run")]
    )


def state(shown: Collection[int], last: int) -> State | None:
    nights: Sequence[StabilityNight] = [night(day) for day in range(1, last + 1)]
    found = track_signatures(nights, [count(day) for day in shown])
    return found[0].state if found else None


@pytest.mark.parametrize(
    ("shown", "last", "expected"),
    [
        ([1], 1, "new"),
        ([9], 9, "new"),
        ([1, 2], 2, "ongoing"),
        ([1], 2, "ongoing"),
        ([1], 7, "ongoing"),
        ([1], 8, "gone"),
        ([1], 9, None),
        ([1, 9], 9, "back"),
        ([1, 8], 8, "ongoing"),
        ([1, 9, 10], 10, "ongoing"),
    ],
)
def test_state_follows_from_the_nights_that_show_it(
    shown: Sequence[int], last: int, expected: State | None
) -> None:
    assert state(shown, last) == expected


def test_counts_are_of_tonight_and_of_all_nights() -> None:
    (found,) = track_signatures([night(1), night(2)], [count(1, 3), count(2, 5)])
    assert (found.tonight, found.total, found.first_night, found.last_night) == (5, 8, date(1), date(2))


def test_unexplained_signature_is_new_although_a_known_bug_has_shown_it_each_night() -> None:
    explained = [count(day) for day in range(1, 10)]
    unexplained = msgspec.structs.replace(count(9), unexplained=True)
    found = track_signatures([night(day) for day in range(1, 10)], [*explained, unexplained])
    assert {each.latest.unexplained: each.state for each in found} == {False: "ongoing", True: "new"}


def test_history_without_nights_has_no_signature() -> None:
    assert track_signatures([], []) == []


def test_unexplained_signature_precedes_a_more_frequent_explained_one() -> None:
    counts = [
        count(1, runs=9),
        msgspec.structs.replace(count(1), signature="answers/not-golden: request", unexplained=True),
    ]
    ordered = ordered_signatures(StabilityHistory([night(1)], counts))
    assert [each.tonight for each in ordered] == [2, 9]
