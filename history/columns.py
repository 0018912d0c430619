"""Takes the changes of all series scrape by scrape, and gives them out series by series.

Many series change at the same scrapes, and many to the same values: every bucket of a histogram above all
that was observed is its count. Equal columns are kept once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from history.series import Scrapes, Values

BATCH = 1 << 21
"""Changes that are sorted by series at a time."""
Column = NDArray[Any]


class Changes:
    """Changes of the values of series, which are numbered from 0."""

    def __init__(self) -> None:
        self._series = array("I")
        self._values = array("d")
        self._scrapes: list[int] = []
        self._counts: list[int] = []
        """Changes at each of these scrapes."""
        self._pieces: dict[int, list[tuple[Scrapes, Values]]] = {}

    def add(self, scrape: int, series: Iterable[int], values: Iterable[Any], known: int) -> None:
        """Add the changes of a scrape, all or none. Raises TypeError for a value that is no number, and
        ValueError for the number of a series that is not below `known`."""
        # Of lists, since an array takes up a list several times faster than another iterable.
        try:
            numbers, reals = array("I", list(series)), array("d", list(values))
        except OverflowError as error:
            raise ValueError("not the number of a series") from error
        if numbers and np.frombuffer(numbers, np.uint32).max() >= known:
            raise ValueError("not the number of a known series")
        self._series.extend(numbers)
        self._values.extend(reals)
        self._scrapes.append(scrape)
        self._counts.append(len(numbers))
        if len(self._series) >= BATCH:
            self._sort()

    def columns(self) -> dict[int, tuple[Scrapes, Values]]:
        """By series the scrapes of its changes, in order, and the values. Nothing can be added afterwards."""
        self._sort()
        joined: dict[tuple[int, ...], Column] = {}
        columns = {series: _joined(pieces, joined) for series, pieces in self._pieces.items()}
        self._pieces = {}
        return columns

    def _sort(self) -> None:
        """Append the changes taken since the last time to the pieces of their series."""
        if not self._series:
            return
        series = np.array(self._series, np.uint32)
        # Numbers of 16 bits are sorted in a single pass, and no server has more series.
        order = np.argsort(series.astype(np.uint16) if series.max() < 1 << 16 else series, kind="stable")
        scrapes = np.repeat(np.array(self._scrapes, np.uint32), self._counts)[order]
        values = np.array(self._values)[order]
        series = series[order]
        starts = np.flatnonzero(np.diff(series, prepend=series[:1] + 1))
        once: dict[tuple[str, bytes], Column] = {}
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(series)], strict=True):
            piece = (_once(scrapes[start:end], once), _once(values[start:end], once))
            self._pieces.setdefault(int(series[start]), []).append(piece)
        self._series, self._values, self._scrapes, self._counts = array("I"), array("d"), [], []


def _once(column: Column, known: dict[tuple[str, bytes], Column]) -> Column:
    content = column.dtype.char, column.tobytes()
    if content not in known:
        known[content] = column.copy()
    return known[content]


def _joined(
    pieces: list[tuple[Scrapes, Values]], known: dict[tuple[int, ...], Column]
) -> tuple[Scrapes, Values]:
    scrapes, values = zip(*pieces, strict=True)
    return _join(scrapes, known), _join(values, known)


def _join(pieces: tuple[Column, ...], known: dict[tuple[int, ...], Column]) -> Column:
    """Joined once for all series that share these very pieces."""
    name = tuple(map(id, pieces))
    if name not in known:
        known[name] = np.concatenate(pieces)
    return known[name]
