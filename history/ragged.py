"""Many short sequences of numbers as one long array, so that numpy can look at all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from history.packing import REAL, SMALL, Numbers

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ragged:
    """The numbers of the sequences, one sequence after the other."""

    values: NDArray[Any]
    counts: Ints
    """Numbers in each sequence."""

    def sums(self, values: NDArray[Any] | None = None) -> Ints:
        """For each sequence the sum of its numbers, or of as many others that stand for them."""
        until: Ints = np.append(0, np.cumsum(self.values if values is None else values))
        ends = np.cumsum(self.counts)
        sums: Ints = until[ends] - until[ends - self.counts]
        return sums

    def falls(self) -> Flags:
        """For each number whether it is less than the one before it in its sequence."""
        less = np.append(False, np.diff(self.values) < 0)[: len(self.values)]
        starts = np.cumsum(self.counts) - self.counts
        less[starts[self.counts > 0]] = False
        return less


def wholes(parts: Sequence[Sequence[int]]) -> Ragged:
    """Of sequences of whole numbers."""
    return Ragged(joined(parts), _counts(parts))


def reals(parts: Sequence[Sequence[float]]) -> Ragged:
    """Of sequences of any numbers."""
    if _all_are(parts, REAL):
        return Ragged(np.frombuffer(b"".join(cast(Sequence[Numbers], parts))), _counts(parts))
    return Ragged(np.fromiter(chain.from_iterable(parts), np.float64), _counts(parts))


def joined(parts: Sequence[Sequence[int]]) -> Ints:
    """All whole numbers of many sequences, one after the other."""
    if _all_are(parts, SMALL):
        return np.frombuffer(b"".join(cast(Sequence[Numbers], parts)), np.uint32).astype(np.int64)
    return np.fromiter(chain.from_iterable(parts), np.int64)


def _all_are(parts: Sequence[Sequence[float]], typecode: str) -> bool:
    return all(type(part) is Numbers and part.typecode == typecode for part in parts)


def _counts(parts: Sequence[Sequence[float]]) -> Ints:
    return np.fromiter(map(len, parts), np.int64, len(parts))
