"""Lines of the server's log beside a moment: stamps without year and zone must not lead astray."""

from __future__ import annotations

import pytest

from kvchaos.report.html.oracle_rows import MAX_TEXT, LogTimes
from tests.support.synthetic_records import SECOND, START_NS

LINES = [
    "Triton is not here.",
    "(APIServer pid=1) INFO 01-15 08:00:05 [api.py:1] ready",
    "(EngineCore pid=2) ERROR 01-15 08:00:20 [core.py:7] Traceback (most recent call last):",
    "    raise AssertionError",
    "\x1b[31m(APIServer pid=1) WARNING 01-15 08:00:40 [api.py:2] gone\x1b[0m",
]
"""START_NS is 08:00:00 UTC of that day."""


def shifted(lines: list[str], hours: int) -> list[str]:
    """The same log of a server in another zone."""
    return [line.replace(" 08:", f" {8 + hours:02d}:") for line in lines]


@pytest.mark.parametrize("hours", [-8, 0, 5, 14])
def test_a_line_is_dated_whatever_the_zone_of_the_server(hours: int) -> None:
    times = LogTimes(shifted(LINES, hours), START_NS)
    assert times.moment(3) == START_NS + 20 * SECOND + SECOND // 2


def test_log_line_without_timestamp_gets_the_previous_time() -> None:
    times = LogTimes(LINES, START_NS)
    assert times.moment(4) == times.moment(3)
    assert times.moment(1) is None


def test_a_run_over_new_year_is_dated() -> None:
    new_year = 1_830_297_600 * SECOND  # 2028-01-01T00:00:00Z
    lines = ["INFO 12-31 23:59:58 [a.py:1] old", "INFO 01-01 00:00:03 [a.py:1] new"]
    times = LogTimes(lines, new_year - 5 * SECOND)
    assert times.moment(1) == new_year - 2 * SECOND + SECOND // 2
    assert times.moment(2) == new_year + 3 * SECOND + SECOND // 2


def test_invalid_timestamp_is_ignored() -> None:
    assert LogTimes(["INFO 13-45 99:00:00 [a.py:1] odd"], START_NS).moment(1) is None


def test_the_lines_beside_a_moment_are_those_of_its_seconds() -> None:
    times = LogTimes(LINES, START_NS)
    assert [line.number for line in times.near(START_NS + 21 * SECOND)] == [3, 4]
    assert times.near(START_NS + 30 * SECOND) == []
    assert LogTimes([], START_NS).near(START_NS) == []


def test_busy_moment_shows_the_nearest_log_lines_without_scrapes() -> None:
    busy = [f"INFO 01-15 08:00:{second:02d} [a.py:1] {part}" for second in range(9) for part in range(20)]
    scrapes = ['INFO: 127.0.0.1:1 - "GET /metrics HTTP/1.1" 200 OK'] * 50
    times = LogTimes([*busy[:100], *scrapes, *busy[100:]], START_NS)
    shown = times.near(START_NS + 5 * SECOND)
    assert any(":05 " in line.text for line in shown)
    assert any(":04 " in line.text for line in shown)
    assert len(shown) <= 12
    assert not any("/metrics" in line.text for line in shown)


def test_the_lines_around_a_line_end_with_the_log_and_mark_it() -> None:
    shown = LogTimes(LINES, START_NS).around(4)
    assert [line.number for line in shown] == [1, 2, 3, 4, 5]
    assert [line.number for line in shown if line.marked] == [4]


def test_colours_are_taken_out_and_long_lines_are_cut() -> None:
    colours, long = LogTimes([LINES[4], "x" * 10_000], START_NS).around(1)
    assert "\x1b" not in colours.text
    assert len(long.text) == MAX_TEXT + 4
