"""Very many numbers in little memory: in arrays, as one array of many sequences, and by series.

A number in a list is an object of 24 bytes or more and a pointer to it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

SMALL, LARGE, REAL = "I", "q", "d"
"""Types of numbers in an array: whole ones of four bytes from 0 on, and of eight; others of eight bytes."""


# No argument of type: one class serves whole numbers and others, and before 3.12 array takes none.
class Numbers(array):  # type: ignore[type-arg]
    """Numbers without an object for each. Equal to any sequence of the same ones."""

    __slots__ = ()
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, array):
            return super().__eq__(other)
        return self.tolist() == other


def packed_wholes(values: Sequence[int]) -> Numbers:
    """Whole numbers as an array, of four bytes each where that is enough, otherwise of eight."""
    try:
        return Numbers(SMALL, values)
    except OverflowError:
        return Numbers(LARGE, values)


Ints = NDArray[np.int64]
Scrapes = NDArray[np.uint32]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Many short sequences of numbers as one long array, so that numpy can look at all of them at once."""

    values: NDArray[Any]
    counts: Ints
    """Numbers in each sequence."""

    def sums(self, values: NDArray[Any] | None = None) -> Ints:
        """The sum of the numbers of each sequence, or of as many others that replace them."""
        until: Ints = np.append(0, np.cumsum(self.values if values is None else values))
        ends = np.cumsum(self.counts)
        sums: Ints = until[ends] - until[ends - self.counts]
        return sums

    def falls(self) -> Flags:
        """Whether each number is less than the one before it in its sequence."""
        less = np.append(False, np.diff(self.values) < 0)[: len(self.values)]
        starts = np.cumsum(self.counts) - self.counts
        less[starts[self.counts > 0]] = False
        return less


def wholes(parts: Sequence[Sequence[int]]) -> Ragged:
    """Build from sequences of whole numbers, int64 [sum of lengths]."""
    return Ragged(joined(parts), _counts(parts))


def reals(parts: Sequence[Sequence[float]]) -> Ragged:
    """Build from sequences of numbers, float64 [sum of lengths]."""
    if _all_are(parts, REAL):
        return Ragged(np.frombuffer(b"".join(cast(Sequence[Numbers], parts))), _counts(parts))
    return Ragged(np.fromiter(chain.from_iterable(parts), np.float64), _counts(parts))


def joined(parts: Sequence[Sequence[int]]) -> Ints:
    """All whole numbers of many sequences, one after the other."""
    if _all_are(parts, SMALL):
        return np.frombuffer(b"".join(cast(Sequence[Numbers], parts)), np.uint32).astype(np.int64)
    return np.fromiter(chain.from_iterable(parts), np.int64)


def _all_are(parts: Sequence[Sequence[float]], typecode: str) -> bool:
    if set(map(type, parts)) != {Numbers}:
        return False
    return {part.typecode for part in cast(Sequence[Numbers], parts)} == {typecode}


def _counts(parts: Sequence[Sequence[float]]) -> Ints:
    return np.fromiter(map(len, parts), np.int64, len(parts))


BATCH = 1 << 21
"""Changes that are sorted by series at a time."""
Column = NDArray[Any]


class Changes:
    """Changes of the values of series, which are numbered from 0: taken by scrape, given out by series.

    Many series change at the same scrapes, and many to the same values: every bucket of a histogram above all
    that was observed is its count. Equal columns are kept once.
    """

    def __init__(self) -> None:
        self._series = array("I")
        self._values = array("d")
        self._scrapes: list[int] = []
        self._counts: list[int] = []
        """Changes at each of these scrapes."""
        self._pieces: dict[int, list[tuple[Scrapes, Values]]] = {}

    def add(self, scrape: int, series: Iterable[int], values: Iterable[Any], known: int) -> None:
        """Add the changes of a scrape, all or none.

        Raises TypeError for a value that is no number, and ValueError for the number of a series that is not
        below `known`.
        """
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
        """The changes by series: scrapes, in order, and values. Nothing can be added afterwards."""
        self._sort()
        joined: dict[tuple[int, ...], Column] = {}
        columns = {series: _joined_pieces(pieces, joined) for series, pieces in self._pieces.items()}
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


def _joined_pieces(
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
