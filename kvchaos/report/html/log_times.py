"""The times of the lines in the server's log, and the lines near a given time.

vLLM stamps its lines with month, day and local time, without year and zone: both come from the run's events.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oracles.views.timeline import NS_PER_S

STAMP = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
SCRAPE = re.compile(r'"GET /(?:metrics|health) HTTP/[\d.]+" 200')
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
QUARTER_S = 900
BEFORE, AFTER = 3, 8
"""Lines shown around a line."""
MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an excerpt."""

    number: int
    text: str
    marked: bool = False


class LogTimes:
    """The lines of a log with their times as far as they are known: a line without a stamp has its
    forerunner's."""

    def __init__(self, lines: Sequence[str], start_ns: int) -> None:
        self._lines = lines
        self._numbers: list[int] = []
        self._times: list[int] = []
        shift: int | None = None
        # Lines about answered requests have no stamp and are mostly the same.
        stamps = {line: _stamp(line, start_ns) for line in set(lines)}
        for number, line in enumerate(lines, start=1):
            stamp_ns = stamps[line]
            if stamp_ns is None:
                continue
            if shift is None:
                shift = round((stamp_ns - start_ns) / NS_PER_S / QUARTER_S) * QUARTER_S * NS_PER_S
            self._numbers.append(number)
            # Several processes write the log: a later line may have an earlier stamp.
            self._times.append(max(stamp_ns - shift, self._times[-1] if self._times else 0))

    def moment(self, number: int) -> int | None:
        """Wall clock time of a line, ns: the middle of its second. None where no line so far has a stamp."""
        index = bisect_left(self._numbers, number + 1) - 1
        return self._times[index] + NS_PER_S // 2 if index >= 0 else None

    def around(self, number: int) -> list[LogLine]:
        """The lines around a line, that one marked."""
        first, last = max(number - BEFORE, 1), min(number + AFTER, len(self._lines))
        return [self._line(n, number) for n in range(first, last + 1)]

    def near(self, t_ns: int) -> list[LogLine]:
        """The lines that were written within two seconds of a moment, the nearest of them; none where the log
        was silent. The suite's own scrapes are left out."""
        since = bisect_left(self._times, t_ns - 2 * NS_PER_S)
        until = bisect_left(self._times, t_ns + 2 * NS_PER_S)
        if since == until:
            return []
        after = self._numbers[until] if until < len(self._numbers) else len(self._lines) + 1
        numbers = [n for n in range(self._numbers[since], after) if SCRAPE.search(self._lines[n - 1]) is None]
        now = self._numbers[max(bisect_left(self._times, t_ns) - 1, since)]
        middle = bisect_left(numbers, now)
        return [self._line(n, None) for n in numbers[max(middle - BEFORE, 0) : middle + AFTER]]

    def _line(self, number: int, marked: int | None) -> LogLine:
        text = COLOUR.sub("", self._lines[number - 1])
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]} ..."
        return LogLine(number, text, number == marked)


def _stamp(line: str, near_ns: int) -> int | None:
    """The stamp of a line as if it were UTC, in the year that brings it nearest."""
    found = STAMP.search(line)
    if found is None:
        return None
    month, day, hour, minute, second = map(int, found.groups())
    near = datetime.fromtimestamp(near_ns // NS_PER_S, UTC)
    moments: list[datetime] = []
    for year in (near.year - 1, near.year, near.year + 1):
        try:
            moments.append(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
        except ValueError:
            continue
    if not moments:
        return None
    nearest = min(moments, key=lambda moment: abs(moment - near))
    return (nearest - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=1) * NS_PER_S
