"""Times left: no figure before there is any ground for one, and runs of other sizes take other times."""

from __future__ import annotations

import pytest

from kvchaos.terminal.display import RunDuration, about, clock, left_s


def test_no_estimate_without_a_finished_run() -> None:
    assert left_s([], [100]) is None


def test_estimate_is_fixed_time_plus_time_per_request() -> None:
    ended = [
        RunDuration(whole_s=60.0, load_s=20.0, requests=100),
        RunDuration(whole_s=50.0, load_s=20.0, requests=100),
    ]
    assert left_s(ended, [100, 200]) == pytest.approx(2 * 35.0 + 300 * 0.2)


def test_a_run_that_sent_nothing_is_no_division_by_zero() -> None:
    assert left_s([RunDuration(whole_s=30.0, load_s=0.0, requests=0)], [100]) == 30.0


def test_estimate_is_zero_after_the_last_run() -> None:
    assert left_s([RunDuration(whole_s=30.0, load_s=10.0, requests=10)], []) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "5 s"), (42.0, "45 s"), (116.0, "2 min"), (3570.0, "1 h"), (7500.0, "2 h 5 min")],
)
def test_duration_is_rounded_for_readers(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.9, "0:07"), (725.0, "12:05"), (3725.0, "1:02:05")])
def test_a_clock_shows_whole_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text
