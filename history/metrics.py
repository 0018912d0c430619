"""Every scrape of a run, held by series as changes only, so that long runs stay small in memory."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from history.columnar import Changes, Flags, Scrapes, Values
from history.records import ScrapeLine


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """One series: at which scrapes its value changed, in their order, and to what."""

    key: str
    metric: str
    labels: dict[str, str]
    at: Scrapes
    values: Values
    """One value for each of `at`; NaN also where the series vanished."""
    vanished: frozenset[int] = frozenset()
    """The scrapes at which it did."""

    def value(self, scrape: int) -> float | None:
        """The value at a scrape, None before the series appeared or after it vanished."""
        index = int(np.searchsorted(self.at, scrape, side="right")) - 1
        if index < 0 or int(self.at[index]) in self.vanished:
            return None
        return float(self.values[index])

    def present(self) -> tuple[Scrapes, Values]:
        """The changes without those at which the series vanished."""
        there = self._there()
        return self.at[there], self.values[there]

    def at_each(self, scrapes: int) -> tuple[Values, Flags]:
        """The value at each of so many scrapes, and whether there is one; NaN where there is none."""
        latest = np.zeros(scrapes, np.intp)
        latest[self.at] = np.arange(1, len(self.at) + 1)
        np.maximum.accumulate(latest, out=latest)
        return np.append(np.nan, self.values)[latest], np.append(False, self._there())[latest]

    def _there(self) -> Flags:
        if not self.vanished:
            return np.ones(len(self.at), np.bool_)
        return np.isin(self.at, list(self.vanished), invert=True)


NS_PER_US = 1000
NOT_FINITE = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
NO_CHANGES = (np.array([], np.uint32), np.array([], np.float64))


@dataclass(frozen=True, slots=True)
class Failure:
    """A scrape that brought no samples."""

    t_ns: int
    """When it began."""
    end_ns: int
    error: str


class MetricLog:
    """All successful scrapes, numbered from 0 in order of time."""

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        """When each scrape began: what ended before is in it."""
        self.ends_ns: list[int] = []
        """When each had ended: what begins later is not in it."""
        self.incarnations: list[float | None] = []
        self.failures: list[Failure] = []
        self._last_ns = 0
        """When the last line, of a failed scrape too, says that it began."""
        self._named: dict[str, tuple[str, dict[str, str]]] = {}
        """Metric and labels by the name of the series, in the order of the series' numbers."""
        self._changes = Changes()
        self._vanished: dict[int, set[int]] = defaultdict(set)
        self._series: list[Series] = []
        self._by_metric: dict[str, list[Series]] = defaultdict(list)

    @classmethod
    def from_lines(cls, lines: Iterable[ScrapeLine]) -> MetricLog:
        """Raises ValueError, with the line's number, for a line that cannot follow those before it."""
        log = cls()
        for number, line in enumerate(lines, start=1):
            try:
                log._add(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
        log._settle()
        return log

    def _add(self, line: ScrapeLine) -> None:
        """Add a line of the file.

        Raises ValueError for a line out of its order, for a series that no line or two lines introduced, and
        for a value that is no number.
        """
        if line.t_ns < self._last_ns:
            raise ValueError("the scrape began before the one on the line above")
        self._last_ns = line.t_ns
        if line.error is not None:
            self.failures.append(Failure(line.t_ns, line.t_ns + line.took_us * NS_PER_US, line.error))
            return
        for key in line.new:
            self._introduce(key)
        scrape = len(self.times_ns)
        self.times_ns.append(line.t_ns)
        before = self.ends_ns[-1] if self.ends_ns else 0
        self.ends_ns.append(max(before, line.t_ns + line.took_us * NS_PER_US))
        self.incarnations.append(line.incarnation)
        self._change(scrape, line.changed)
        for index in line.gone:
            self._changes.add(scrape, [self._number(index)], [math.nan], len(self._named))
            self._vanished[index].add(scrape)

    def _introduce(self, key: str) -> None:
        if key in self._named:
            raise ValueError(f"series {key} is introduced twice")
        self._named[key] = parse_key(key)

    def _change(self, scrape: int, changed: dict[int, float | str]) -> None:
        try:
            self._changes.add(scrape, changed, changed.values(), len(self._named))
        except (TypeError, ValueError):
            # Something is odd in this line, maybe only a value that JSON has no number for.
            for index, raw in changed.items():
                self._changes.add(scrape, [self._number(index)], [_value(raw)], len(self._named))

    def _number(self, index: int) -> int:
        if not 0 <= index < len(self._named):
            raise ValueError(f"series {index} was never introduced")
        return index

    def _settle(self) -> None:
        """Make the series of all that was added."""
        columns = self._changes.columns()
        for index, (key, (metric, labels)) in enumerate(self._named.items()):
            at, values = columns.get(index, NO_CHANGES)
            series = Series(key, metric, labels, at, values, frozenset(self._vanished.get(index, ())))
            self._series.append(series)
            self._by_metric[metric].append(series)

    def last_ns(self) -> int:
        """Begin of the last scrape, a failed one too; 0 without one."""
        return self._last_ns

    def __len__(self) -> int:
        return len(self.times_ns)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series)

    def scrape_at(self, t_ns: int) -> int | None:
        """Number of the last scrape that had ended by a wall clock time; None when there is none.

        One under way then may hold what happened later.
        """
        index = bisect_right(self.ends_ns, t_ns) - 1
        return index if index >= 0 else None

    def answered_within(self, since_ns: int, until_ns: int) -> int:
        """How many successful scrapes began and ended in a stretch of time."""
        first = bisect_left(self.times_ns, since_ns)
        return max(0, bisect_right(self.ends_ns, until_ns) - first)

    def tried_within(self, since_ns: int, until_ns: int) -> int:
        """How many scrapes were under way in a stretch of time, with success or not."""
        failed = ((failure.t_ns, failure.end_ns) for failure in self.failures)
        spans = chain(zip(self.times_ns, self.ends_ns, strict=True), failed)
        return sum(begin_ns <= until_ns and end_ns >= since_ns for begin_ns, end_ns in spans)

    def find(self, metric: str, **labels: str) -> list[Series]:
        """All series of a sample name (counters end in `_total`) that carry these labels."""
        return [
            series
            for series in self._by_metric.get(metric, [])
            if all(series.labels.get(name) == value for name, value in labels.items())
        ]

    def total(self, scrape: int, metric: str, **labels: str) -> float | None:
        """Sum over the matching series at a scrape; None when none has a value there."""
        values = [series.value(scrape) for series in self.find(metric, **labels)]
        present = [value for value in values if value is not None]
        return sum(present) if present else None

    def increase(self, first: int, last: int, metric: str, **labels: str) -> float | None:
        """Growth of a counter between two scrapes of one incarnation; a series that appears starts at 0.

        None when the metric is absent at `last` or the server was restarted in between.
        """
        if self.incarnations[first] != self.incarnations[last]:
            return None
        end = self.total(last, metric, **labels)
        if end is None:
            return None
        return end - (self.total(first, metric, **labels) or 0.0)


def series_key(name: str, labels: dict[str, str]) -> str:
    """The name of a series in the files: the exposition format with sorted labels."""
    if not labels:
        return name
    inner = ",".join(f'{key}="{_escape(labels[key])}"' for key in sorted(labels))
    return f"{name}{{{inner}}}"


def parse_key(key: str) -> tuple[str, dict[str, str]]:
    """Sample name and labels of a series name. Raises ValueError when it is not one."""
    try:
        for family in text_string_to_metric_families(f"{key} 0\n"):
            for sample in family.samples:
                return sample.name, dict(sample.labels)
    except IndexError as error:  # The library's own slip over labels that do not end.
        raise ValueError(f"not a series name: {key!r}") from error
    raise ValueError(f"not a series name: {key!r}")


def _value(raw: float | str) -> float:
    if isinstance(raw, str):
        if raw not in NOT_FINITE:
            raise ValueError(f"not a value: {raw!r}")
        return NOT_FINITE[raw]
    return raw


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
