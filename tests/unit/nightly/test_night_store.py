"""The files of the history: a night is there whole or not at all, and a year of nights stays small."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.decision import decide
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.night_records import ChangeLine, NightPoint
from kvchaos.nightly.night_store import (
    CHANGES,
    NIGHTS,
    POINTS,
    append_changes,
    append_night,
    read_nights,
    rounded_point,
    rounded_slowdowns,
)
from tests.support.night_points import SERIES, night, night_id, point
from tests.support.synthetic_nights import synthetic_year, write_history

OPENED = ChangeLine(
    change="2026-11-02-chat-return", event="opened", night=night_id(2), series=[SERIES], slowdowns=[0.08]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two nights; the second opened a change."""
    append_night(tmp_path / "history", night(1), [point(1)], [])
    append_night(tmp_path / "history", night(2), [point(2, "regressed", 0.08)], [OPENED])
    return tmp_path / "history"


def add(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def line_of(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def test_appended_nights_are_read_in_order_of_time(folder: Path) -> None:
    append_night(folder, night(4), [point(4)], [])
    append_night(folder, night(3), [point(3)], [])
    found = read_nights(folder)
    assert [each.night for each in found.nights] == [night_id(day) for day in (1, 2, 3, 4)]
    assert [each.night for each in found.by_series[SERIES]] == [night_id(day) for day in (1, 2, 3, 4)]
    assert found.by_night[night_id(2)] == [point(2, "regressed", 0.08)]
    assert found.changes == [OPENED]
    assert not found.left_out


def test_folder_without_files_is_an_empty_history(tmp_path: Path) -> None:
    assert not read_nights(tmp_path / "none").nights


def test_same_night_twice_is_refused_and_changes_no_file(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError):
        append_night(folder, night(2), [point(2)], [])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", [NIGHTS, POINTS, CHANGES])
def test_incomplete_last_line_is_left_out_and_removed_by_the_next_night(folder: Path, name: str) -> None:
    add(folder / name, b'{"v":1,"night":"2026-11-0')
    found = read_nights(folder)
    assert len(found.nights) == 2
    assert len(found.left_out) == 1
    append_night(folder, night(3), [point(3)], [])
    found = read_nights(folder)
    assert len(found.nights) == 3
    assert not found.left_out


def test_points_and_changes_of_a_night_without_its_line_are_left_out(folder: Path) -> None:
    add(folder / POINTS, line_of(point(3, "regressed", 0.08)))
    add(folder / CHANGES, line_of(msgspec.structs.replace(OPENED, change="other", night=night_id(3))))
    found = read_nights(folder)
    assert len(found.by_series[SERIES]) == 2
    assert found.changes == [OPENED]
    assert len(found.left_out) == 2


def test_night_of_a_killed_writer_can_be_appended_again(folder: Path) -> None:
    add(folder / POINTS, line_of(point(3, "regressed", 0.08)))
    append_night(folder, night(3), [point(3)], [])
    assert read_nights(folder).by_night[night_id(3)] == [point(3)]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (POINTS, line_of(point(1))),
        (NIGHTS, line_of(night(2))),
        (POINTS, b'{"night":"2026-11-02T01:00:00Z","surplus":1}\n'),
        (CHANGES, b"no JSON\n"),
        (CHANGES, line_of(msgspec.structs.replace(OPENED, change="other", event="fixed"))),
    ],
)
def test_broken_line_is_named_by_file_and_number(folder: Path, name: str, line: bytes) -> None:
    add(folder / name, line)
    number = (folder / name).read_bytes().count(b"\n")
    with pytest.raises(UsageError) as error:
        read_nights(folder)
    assert str(error.value).startswith(f"{folder / name}:{number}: ")
    assert "\n" not in str(error.value)


def test_event_of_a_change_needs_a_night_that_is_there(folder: Path) -> None:
    fixed = msgspec.structs.replace(OPENED, event="fixed", slowdowns=())
    append_changes(folder, [fixed])
    assert read_nights(folder).changes == [OPENED, fixed]
    with pytest.raises(UsageError):
        append_changes(folder, [msgspec.structs.replace(fixed, night=night_id(9))])


def test_line_of_another_night_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=night_id(3)):
        append_night(folder, night(3), [point(4)], [])


def test_stored_pairs_give_the_stored_decision() -> None:
    pairs = rounded_slowdowns([0.0512345678, 0.0498765432, 0.05, 0.0501, 0.0499, 0.0502])
    first = decide(pairs, pairs * 3, 0.03, Procedure())
    stored = rounded_point(msgspec.structs.replace(point(1), screen=pairs, confirm=pairs * 3, decision=first))
    again = decide(stored.screen, stored.confirm, 0.03, Procedure())
    assert stored.decision is not None
    assert again.result == stored.decision.result
    assert again.slowdown == pytest.approx(stored.decision.slowdown, rel=1e-5)


def test_year_of_nights_is_below_its_limit_of_size(tmp_path: Path) -> None:
    nights = 14
    write_history(synthetic_year(nights), tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size / nights * 365 < 30e6
    assert len(read_nights(tmp_path).by_series) == 180


@pytest.mark.parametrize("points", [[point(3), point(3)], [point(3, slowdown=math.nan)]])
def test_point_that_would_make_the_history_unreadable_is_refused(
    folder: Path, points: list[NightPoint]
) -> None:
    with pytest.raises(UsageError, match=SERIES):
        append_night(folder, night(3), points, [])
    assert len(read_nights(folder).nights) == 2


def test_writers_at_once_append_whole_nights(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = [
            pool.submit(
                append_night, tmp_path, night(day), [point(day, series=f"a/b/{each}") for each in "cdef"], []
            )
            for day in range(1, 13)
        ]
    assert all(each.exception() is None for each in done)
    found = read_nights(tmp_path)
    assert [len(points) for points in found.by_night.values()] == [4] * 12
    assert not found.left_out
