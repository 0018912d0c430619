"""Whatever lies in place of a schedule: the engine lives on, arms nothing, and says why in a bounded line."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.inside.control import MAX_SCHEDULE_BYTES, SCHEDULE
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.inside_kinds import KINDS
from tests.support.control_directory import Room, entry, schedule

MALFORMED = 1_000
LONGEST_REASON = 300
"""Characters."""

RIGHT = schedule(
    entry("gone", "lookup_miss", {"probability": 0.25, "limit": 3}),
    entry("slow", "copy_delay", {"every": 2, "offset": 1}, direction="load", min_ms=1),
    entry("keys", "lookup_retry", {"key_share": 0.5}),
    entry("flip", "bit_flip", {"nth": [0, 4]}, bit=3),
)
RIGHT_BYTES = json.dumps(RIGHT).encode()

FAULTS = [("faults", index) for index in range(4)]
NEEDED = [
    *((key,) for key in RIGHT),
    *((*fault, key) for fault in FAULTS for key in ("id", "kind", "trigger", "params")),
]
OBJECTS = [(), *FAULTS, *((*fault, key) for fault in FAULTS for key in ("trigger", "params"))]
Path_ = tuple[str | int, ...]

NO_NUMBER: st.SearchStrategy[object] = (
    st.text(max_size=20)
    | st.booleans()
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
FRACTION = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number != int(number))
NO_WHOLE = NO_NUMBER | FRACTION | st.sampled_from([float("nan"), float("inf"), 1.0, 1e300])
NO_PROBABILITY = (
    NO_NUMBER
    | st.floats(max_value=0.0)
    | st.floats(min_value=1.0, exclude_min=True)
    | st.integers(max_value=0)
    | st.integers(min_value=2)
    | st.just(float("nan"))
)
NO_TEXT = NO_NUMBER.filter(lambda value: not isinstance(value, str)) | st.none() | st.integers()
NO_LIST = NO_TEXT.filter(lambda value: not isinstance(value, list)) | st.text(max_size=5)
NO_OBJECT = NO_LIST.filter(lambda value: not isinstance(value, dict)) | st.lists(st.integers())
WRONG: dict[Path_, st.SearchStrategy[object]] = {
    ("v",): st.integers().filter(lambda version: version != 1) | st.text(max_size=3) | st.none(),
    ("epoch",): NO_WHOLE | st.none(),
    ("seed",): NO_WHOLE | st.none(),
    ("lease_s",): NO_NUMBER
    | st.floats(max_value=-1.0)
    | st.sampled_from([float("inf"), float("nan"), 10**400]),
    ("faults",): NO_LIST | st.lists(NO_OBJECT, min_size=1, max_size=3),
    ("faults", 0, "id"): NO_TEXT | st.sampled_from(["", "two words", "a\nb", "\ud800", "x" * 65, "keys"]),
    ("faults", 0, "kind"): NO_TEXT | st.sampled_from(["", "LOOKUP_MISS", "x" * 2_000]),
    ("faults", 0, "params"): NO_OBJECT | st.just({"direction": "load"}),
    ("faults", 0, "trigger"): NO_OBJECT | st.sampled_from([{}, {"limit": 1}, {"every": 1, "nth": [0]}]),
    ("faults", 0, "trigger", "probability"): NO_PROBABILITY | st.none(),
    ("faults", 0, "trigger", "limit"): NO_WHOLE | st.integers(max_value=0),
    ("faults", 1, "trigger", "every"): NO_WHOLE | st.integers(max_value=0) | st.none(),
    ("faults", 1, "trigger", "offset"): NO_WHOLE,
    ("faults", 1, "params", "direction"): NO_TEXT | st.sampled_from(["", "loads", "LOAD"]),
    ("faults", 1, "params", "min_ms"): NO_WHOLE | st.integers(max_value=-1) | st.integers(min_value=201),
    ("faults", 1, "params", "dry_run"): st.integers() | st.text(max_size=5) | st.none(),
    ("faults", 2, "trigger", "key_share"): NO_PROBABILITY | st.none(),
    ("faults", 3, "trigger", "nth"): NO_LIST | st.lists(NO_WHOLE, min_size=1, max_size=3),
    ("faults", 3, "params", "bit"): NO_WHOLE | st.integers(max_value=-1) | st.integers(min_value=32),
}
"""Values that each place of the right schedule must not take."""


def at(content: Any, path: Path_) -> Any:
    for step in path:
        content = content[step]
    return content


def with_value(path: Path_, value: object) -> bytes:
    content = copy.deepcopy(RIGHT)
    at(content, path[:-1])[path[-1]] = value
    return json.dumps(content).encode()


def without(path: Path_) -> bytes:
    content = copy.deepcopy(RIGHT)
    del at(content, path[:-1])[path[-1]]
    return json.dumps(content).encode()


def with_more(path: Path_, key: str) -> bytes:
    content = copy.deepcopy(RIGHT)
    at(content, path)[f"{key}?"] = 1
    return json.dumps(content).encode()


def with_bytes(offset: int, more: bytes) -> bytes:
    return RIGHT_BYTES[:offset] + more + RIGHT_BYTES[offset:]


OFFSETS = st.integers(0, len(RIGHT_BYTES) - 1)
FILES: st.SearchStrategy[bytes] = st.one_of(
    # Not JSON: cut, not text, another encoding, garbage.
    OFFSETS.map(lambda end: RIGHT_BYTES[:end]),
    st.tuples(OFFSETS, st.sampled_from([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\0"])).map(
        lambda more: with_bytes(*more)
    ),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map(json.dumps(RIGHT).encode),
    st.binary(max_size=200),
    st.text('{}[]":,0123456789eE.-\n ', max_size=60).map(str.encode),
    st.integers(1, 200_000).map(lambda deep: b"[" * deep),
    st.integers(4_301, 20_000).map(lambda digits: RIGHT_BYTES.replace(b": 7", b": " + b"1" * digits)),
    st.integers(1, 3).map(lambda more: b" " * MAX_SCHEDULE_BYTES + RIGHT_BYTES * more),
    # JSON, but no schedule.
    NO_OBJECT.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(NEEDED).map(without),
    st.tuples(st.sampled_from(OBJECTS), st.text(max_size=9) | st.just("long" * 500)).map(
        lambda more: with_more(*more)
    ),
    st.sampled_from(sorted(WRONG, key=str)).flatmap(
        lambda path: WRONG[path].map(lambda value: with_value(path, value))
    ),
)


class Patient:
    """A room with one engine that has to take it all."""

    def __init__(self, folder: Path) -> None:
        self.room = Room(folder / "control")
        self.engine: FaultRuntime = self.room.start()

    def take(self, make: Callable[[Path], object]) -> None:
        """Arm a fault, replace the schedule by what `make` makes, and see that all is well afterwards."""
        draft = self.room.path / ".malformed"
        make(draft)
        self.room.arm(entry("before", "lookup_miss"))
        assert self.engine.armed("lookup_miss")
        known, healed_before = len(self.room.lines()), len(self.room.events("healed"))
        # As the conductor does it: by an atomic rename.
        draft.replace(self.room.path / SCHEDULE)
        self.room.healed(healed_before, 1)
        refused, healed = self.room.lines()[known:]
        assert (refused.event, refused.fault) == ("refused", None)
        assert refused.refusal is not None
        assert refused.refusal.reason == "schedule-malformed"
        assert refused.refusal.detail.startswith("schedule ")
        assert len(refused.refusal.detail) <= LONGEST_REASON
        assert (healed.event, healed.fault) == ("healed", "before")
        assert healed.evidence["reason"] == "schedule-refused"
        assert all(self.engine.evaluate(kind) is None for kind in KINDS)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    made = Patient(tmp_path_factory.mktemp("patient"))
    with made.room:
        yield made


@settings(max_examples=MALFORMED, deadline=None)
@given(content=FILES)
def test_thousand_malformed_schedules_arm_no_fault_and_end_no_engine(
    patient: Patient, content: bytes
) -> None:
    patient.take(lambda path: path.write_bytes(content))


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/"), lambda path: path.symlink_to("/dev/zero")],
    ids=["pipe", "folder", "endless"],
)
def test_schedule_that_is_no_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    # A watcher that waits for a pipe's writer, or reads without end, would never heal again.
    patient = Patient(tmp_path)
    patient.take(make)
    patient.room.arm(entry("after", "lookup_miss"))
    assert patient.engine.evaluate("lookup_miss") is not None
