"""What comes in through the control directory is either a whole, right schedule or nothing."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaos.inside.control import (
    EMPTY,
    BadControl,
    check_directory,
    parse_schedule,
)
from history.protocol.schedule import ArmedFault, Schedule, Trigger
from tests.support.control_directory import entry, schedule

RIGHT = schedule(
    entry("gone", "lookup_miss", {"probability": 0.25, "limit": 3}),
    entry("slow", "copy_delay", {"every": 2, "offset": 1}, direction="load", min_ms=1),
    entry("flip", "bit_flip", {"nth": [0, 4]}, bit=3),
    epoch=4,
    seed=2**63 - 1,
    lease_s=15,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), float("nan"), float("inf"), -0.0, 1e308])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "lookup_miss", "every", "both"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [
        (),
        ("v",),
        ("epoch",),
        ("seed",),
        ("lease_s",),
        ("faults",),
        ("more",),
        *(("faults", index) for index in range(3)),
        *(
            ("faults", index, key)
            for index in range(3)
            for key in ("id", "kind", "trigger", "params", "more")
        ),
        *(
            ("faults", index, "trigger", key)
            for index in range(3)
            for key in ("probability", "nth", "every", "offset", "limit", "states", "more")
        ),
        *(("faults", 1, "params", key) for key in ("direction", "min_ms", "max_ms", "dry_run", "more")),
        *(("faults", 2, "params", key) for key in ("bit", "word_bytes", "dry_run")),
    ]
)


def changed(path: tuple[str | int, ...], value: object) -> object:
    """The right schedule with one place of it replaced."""
    if not path:
        return value
    content: Any = copy.deepcopy(RIGHT)
    inner = content
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return content


def parse(content: object) -> Schedule:
    return parse_schedule(json.dumps(content))


def test_valid_schedule_is_read_with_defaults() -> None:
    assert parse(RIGHT) == Schedule(
        v=1,
        epoch=4,
        seed=2**63 - 1,
        lease_s=15.0,
        faults=(
            ArmedFault("gone", "lookup_miss", Trigger(probability=0.25, limit=3), {"dry_run": False}),
            ArmedFault(
                "slow",
                "copy_delay",
                Trigger(every=2, offset=1),
                {"direction": "load", "min_ms": 1, "max_ms": 200, "dry_run": False},
            ),
            ArmedFault(
                "flip",
                "bit_flip",
                Trigger(nth=(0, 4)),
                {
                    "direction": "load",
                    "plane": -1,
                    "word_bytes": 4,
                    "bit": 3,
                    "count": 1,
                    "dry_run": False,
                },
            ),
        ),
    )


@settings(max_examples=300, deadline=None)
@given(path=PATHS, value=JSON)
@example(path=("lease_s",), value=10**400)
@example(path=("faults", 0, "trigger", "probability"), value=10**400)
def test_malformed_schedule_raises_only_bad_control(path: tuple[str | int, ...], value: object) -> None:
    text = json.dumps(changed(path, value))
    # Anything else that is raised fails the test, as it would end the watching of the directory.
    with contextlib.suppress(BadControl):
        assert isinstance(parse_schedule(text), Schedule)


def _without(key: str) -> Callable[[], object]:
    return lambda: {name: value for name, value in RIGHT.items() if name != key}


@pytest.mark.parametrize("key", RIGHT)
def test_a_schedule_that_lacks_a_key_is_refused(key: str) -> None:
    with pytest.raises(BadControl, match=key):
        parse(_without(key)())


def test_states_are_read_as_written() -> None:
    read = parse(changed(("faults", 0, "trigger", "states"), ["decode", "storing"]))
    assert read.faults[0].trigger.states == ("decode", "storing")


def test_an_empty_schedule_arms_nothing() -> None:
    assert parse(schedule()).faults == EMPTY.faults


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_control_directory_writable_by_its_owner_alone_is_accepted(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    check_directory(tmp_path)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
@pytest.mark.parametrize("trigger", [None, "every", "nth", "offset", "limit"])
def test_number_outside_the_journal_range_is_refused(number: int, trigger: str | None) -> None:
    wrong: dict[str, Any] = {"every": 1}
    if trigger is not None:
        wrong |= {trigger: [number] if trigger == "nth" else number}
        wrong = {"nth": wrong["nth"]} if trigger == "nth" else wrong
    content = schedule(entry("gone", "lookup_miss", wrong), epoch=number if trigger is None else 1)
    with pytest.raises(BadControl):
        parse_schedule(json.dumps(content))
