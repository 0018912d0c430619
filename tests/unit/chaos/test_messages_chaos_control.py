"""What is said of a schedule or a directory that the chaos module refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaos.inside.control import (
    BadControl,
    check_directory,
    parse_schedule,
)
from tests.support.control_directory import entry, schedule
from tests.unit.chaos.test_chaos_control import changed, parse

REFUSED = r"^schedule is (not JSON|malformed): "
"""What JSON has no number or character for is the first."""


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=30) | st.text('{}[]":,0123456789eE.-', max_size=40))
@example(text="[" * 100_000)
@example(text="1" * 5_000)
def test_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadControl, match=REFUSED):
        parse_schedule(text)


@pytest.mark.parametrize("path", [("more",), ("faults", 0, "more"), ("faults", 0, "trigger", "more")])
def test_an_unknown_key_is_refused_by_name(path: tuple[str | int, ...]) -> None:
    with pytest.raises(BadControl, match="unknown field `more`"):
        parse(changed(path, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("v",), 2),
        (("v",), "1"),
        (("epoch",), True),
        (("epoch",), 1.0),
        (("seed",), "7"),
        (("lease_s",), "15"),
        (("lease_s",), True),
        (("faults",), {}),
        (("faults",), None),
        (("faults", 0), "lookup_miss"),
        (("faults", 0, "kind"), "no_such_fault"),
        (("faults", 0, "kind"), 3),
        (("faults", 0, "params"), []),
        (("faults", 0, "params"), {"dry_run": "yes"}),
        (("faults", 0, "trigger"), []),
        (("faults", 0, "trigger", "probability"), "0.5"),
        (("faults", 0, "trigger", "limit"), 0),
        (("faults", 1, "trigger", "every"), 0),
        (("faults", 1, "trigger", "offset"), 1.5),
        (("faults", 2, "trigger", "nth"), 3),
        (("faults", 2, "trigger", "nth"), ["3"]),
    ],
)
def test_value_of_wrong_type_or_out_of_bounds_is_refused(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(BadControl, match=REFUSED):
        parse(changed(path, value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 10**400])
def test_a_lease_that_never_ends_is_refused(value: float) -> None:
    with pytest.raises(BadControl, match=REFUSED):
        parse(changed(("lease_s",), value))


@pytest.mark.parametrize("value", [float("nan"), 0, -0.1, 1.1])
def test_probability_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(BadControl, match=REFUSED):
        parse(changed(("faults", 0, "trigger", "probability"), value))


@pytest.mark.parametrize(
    "trigger", [{}, {"limit": 3}, {"probability": 0.5, "every": 2}, {"nth": [1], "every": 1}]
)
def test_trigger_without_exactly_one_selection_is_refused(trigger: dict[str, object]) -> None:
    with pytest.raises(BadControl, match="exactly one of probability, nth, every"):
        parse(changed(("faults", 0, "trigger"), trigger))


@pytest.mark.parametrize("states", [[], "decode", ["sleeping"], [3], {"decode": 1}, [["decode"]]])
def test_states_that_no_request_has_are_refused(states: object) -> None:
    with pytest.raises(BadControl, match=REFUSED):
        parse(changed(("faults", 0, "trigger", "states"), states))


def test_states_are_refused_where_an_arrival_concerns_several_requests() -> None:
    wrong = schedule(entry("order", "completion_reorder", {"every": 1, "states": ["loading"]}))
    with pytest.raises(BadControl, match="states do not go with it"):
        parse(wrong)


@pytest.mark.parametrize("name", ["", "\ud800", "two words", "a\nb", 7, None, "x" * 65])
def test_a_fault_id_that_the_journal_could_not_carry_is_refused(name: object) -> None:
    # A lone surrogate would make the server's own thread stumble in the middle of a decision.
    with pytest.raises(BadControl, match=REFUSED):
        parse(changed(("faults", 0, "id"), name))


def test_two_faults_of_one_id_are_refused() -> None:
    with pytest.raises(BadControl, match="two faults have the same id"):
        parse(changed(("faults", 1, "id"), "gone"))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_control_directory_writable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(BadControl, match="others can write to it; chmod go-w it"):
        check_directory(tmp_path)


def test_a_directory_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadControl, match="No such file"):
        check_directory(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BadControl, match="not a directory"):
        check_directory(tmp_path / "file")
