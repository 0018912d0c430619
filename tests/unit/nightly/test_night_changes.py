"""Changes over the nights: opened once, confirmed once, fixed on evidence, accepted as the new level."""

from __future__ import annotations

import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.decision import Result
from kvchaos.nightly.detection_power import NO_NOISE
from kvchaos.nightly.night_changes import (
    acceptance,
    accepted_level,
    change_lines,
    earlier_noise,
    last_good_night,
    tracked_changes,
)
from kvchaos.nightly.night_records import ChangeLine, NightPoint
from kvchaos.nightly.night_store import NightHistory
from tests.support.night_points import (
    IDENTITY,
    OTHER_IDENTITY,
    SERIES,
    history_of,
    night,
    night_id,
    point,
)

OTHER_FIGURE, OTHER_SCENARIO = "chat-return/load/throughput", "evict-storm/load/ttft-median"
CHANGE = "2026-11-02-chat-return"


def events(lines: list[ChangeLine]) -> list[tuple[str, str]]:
    return [(line.change, line.event) for line in lines]


def open_history(*later: NightPoint, step: float = 0.08) -> NightHistory:
    """A change that the second night opened, then more nights without events."""
    result: Result = "regressed" if step > 0 else "improved"
    points = [point(1), point(2, result, step), *later]
    opened = change_lines(history_of([point(1)]), night(2), [points[1]])
    return history_of(points, opened)


def test_series_of_one_scenario_open_one_change() -> None:
    points = [point(2, "regressed", 0.08, series=name) for name in (SERIES, OTHER_FIGURE, OTHER_SCENARIO)]
    lines = change_lines(history_of([point(1)]), night(2), points)
    assert events(lines) == [(CHANGE, "opened"), ("2026-11-02-evict-storm", "opened")]
    assert lines[0].series == [SERIES, OTHER_FIGURE]
    assert lines[0].slowdowns == [0.08, 0.08]


def test_both_directions_of_a_scenario_are_two_changes() -> None:
    points = [point(2, "regressed", 0.08), point(2, "improved", -0.08, series=OTHER_FIGURE)]
    lines = change_lines(history_of([point(1)]), night(2), points)
    assert events(lines) == [(CHANGE, "opened"), (f"{CHANGE}-2", "opened")]
    directions = [change.direction for change in tracked_changes(history_of([point(1), *points], lines))]
    assert directions == ["regressed", "improved"]


def test_open_change_is_confirmed_once() -> None:
    history = open_history()
    third = point(3, "regressed", 0.08)
    lines = change_lines(history, night(3), [third])
    assert events(lines) == [(CHANGE, "confirmed")]
    history = history_of([point(1), point(2, "regressed", 0.08), third], [*history.changes, *lines])
    assert change_lines(history, night(4), [point(4, "regressed", 0.08)]) == []


@pytest.mark.parametrize("step", [0.08, -0.08])
def test_same_night_closes_a_change_when_its_interval_excludes_the_step(step: float) -> None:
    lines = change_lines(open_history(step=step), night(3), [point(3, "same", 0.0, half=0.02)])
    assert events(lines) == [(CHANGE, "fixed")]


def test_screen_that_missed_the_step_does_not_close_the_change() -> None:
    assert change_lines(open_history(), night(3), [point(3, "same", 0.06, half=0.03)]) == []
    assert change_lines(open_history(), night(3), [point(3, "blind", 0.0)]) == []


def test_change_in_the_other_direction_closes_one_and_opens_another() -> None:
    lines = change_lines(open_history(), night(3), [point(3, "improved", -0.08)])
    assert events(lines) == [(CHANGE, "fixed"), ("2026-11-03-chat-return", "opened")]


def test_change_is_fixed_when_its_last_series_is() -> None:
    points = [point(2, "regressed", 0.08), point(2, "regressed", 0.08, series=OTHER_FIGURE)]
    opened = change_lines(history_of([point(1)]), night(2), points)
    third = [point(3), point(3, "regressed", 0.08, series=OTHER_FIGURE)]
    lines = change_lines(history_of(points, opened), night(3), third)
    assert [(line.event, line.series) for line in lines] == [
        ("confirmed", [OTHER_FIGURE]),
        ("fixed", [SERIES]),
    ]
    (change,) = tracked_changes(history_of([*points, *third], [*opened, *lines]))
    assert (change.state, change.standing) == ("open", {OTHER_FIGURE})


def test_control_night_changes_nothing() -> None:
    points = [point(3, "regressed", 0.09, series=OTHER_FIGURE), point(3)]
    assert change_lines(open_history(), night(3, "control"), points) == []


def test_new_identity_ends_a_change_without_an_alarm() -> None:
    other = point(3, identity=OTHER_IDENTITY)
    assert change_lines(open_history(), night(3), [other]) == []
    (change,) = tracked_changes(open_history(other))
    assert change.state == "ended"


def test_regression_under_a_new_identity_opens_a_change_of_its_own() -> None:
    lines = change_lines(open_history(), night(3), [point(3, "regressed", 0.08, identity=OTHER_IDENTITY)])
    assert events(lines) == [("2026-11-03-chat-return", "opened")]


def test_accepted_step_is_the_level_until_the_identity_changes() -> None:
    history = open_history(point(3, "regressed", 0.06))
    line = acceptance(history, CHANGE, "  see\n pull/4711 ")
    assert line.reason == "see pull/4711"
    assert line.night == night_id(3)
    # 18 fresh pairs of the night that opened it, 24 of the next one.
    assert list(line.slowdowns) == pytest.approx([(18 * 0.08 + 24 * 0.06) / 42], abs=1e-6)
    points = [each for found in history.by_series.values() for each in found]
    history = history_of(points, [*history.changes, line])
    assert accepted_level(history, SERIES, IDENTITY) == line.slowdowns[0]
    assert accepted_level(history, SERIES, OTHER_IDENTITY) == 0.0
    assert accepted_level(history, OTHER_FIGURE, IDENTITY) == 0.0
    assert [change.state for change in tracked_changes(history)] == ["accepted"]


def test_two_accepted_steps_add_up() -> None:
    history = open_history()
    lines = [*history.changes, acceptance(history, CHANGE, "first")]
    points = [point(1), point(2, "regressed", 0.08), point(3, "regressed", 0.1, accepted=0.08)]
    opened = change_lines(history_of(points[:2], lines), night(3), points[2:])
    lines += opened
    lines.append(acceptance(history_of(points, lines), opened[0].change, "second"))
    assert accepted_level(history_of(points, lines), SERIES, IDENTITY) == pytest.approx(0.18)


@pytest.mark.parametrize(("name", "reason"), [("2026-11-09-none", "x"), (CHANGE, " \n ")])
def test_acceptance_needs_an_open_change_and_a_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError):
        acceptance(open_history(), name, reason)


def test_change_is_accepted_once() -> None:
    history = open_history()
    line = acceptance(history, CHANGE, "known")
    with pytest.raises(UsageError):
        acceptance(
            history_of([point(1), point(2, "regressed", 0.08)], [*history.changes, line]), CHANGE, "known"
        )


def test_noise_pools_the_last_nights_of_one_identity_with_control_nights() -> None:
    points = [point(1), point(2), point(3, "regressed", 0.08), point(4, identity=OTHER_IDENTITY)]
    history = history_of(points, kinds={2: "control"})
    assert earlier_noise(history, SERIES, IDENTITY).freedom == 5 + 5 + (5 + 17)
    assert earlier_noise(history, SERIES, IDENTITY, nights=1).freedom == 5 + 17
    assert earlier_noise(history, SERIES, "c" * 16) == NO_NOISE


def test_last_good_night_is_a_comparison_of_the_same_identity() -> None:
    points = [point(1), point(2), point(3), point(4, "blind"), point(5, "regressed", 0.08)]
    found = last_good_night(history_of(points, kinds={3: "control"}), SERIES, night_id(5))
    assert found is not None
    assert found.night == night_id(2)
    points[4] = point(5, "regressed", 0.08, identity=OTHER_IDENTITY)
    assert last_good_night(history_of(points), SERIES, night_id(5)) is None
