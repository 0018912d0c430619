"""Times between the events of a stream that carried tokens, of many requests at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from history.packing import joined
from history.records import RequestRecord

BLOCK = 20_000
"""Requests taken at a time: few enough for little memory, many enough to be fast."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gaps:
    """The gaps of some requests with two events or more, one request after the other."""

    records: list[RequestRecord]
    us: Ints
    """All gaps, microseconds."""
    until_us: Ints
    """When each ended, from the start of its request."""
    counts: Ints
    """Gaps of each request."""

    def longest(self) -> tuple[Ints, Ints]:
        """Of each request the longest gap, and when that ended; of several the first."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        starts = np.cumsum(self.counts) - self.counts
        longest = np.maximum.reduceat(self.us, starts)
        places = np.flatnonzero(self.us == longest[owner])
        first = places[np.flatnonzero(np.diff(owner[places], prepend=-1))]
        return longest, self.until_us[first]


def gaps(records: Sequence[RequestRecord]) -> Iterator[Gaps]:
    """All gaps in blocks, none of them empty."""
    streamed = (record for record in records if len(record.chunk_us) > 1)
    while block := list(islice(streamed, BLOCK)):
        yield _gaps(block)


def _gaps(records: list[RequestRecord]) -> Gaps:
    counts = np.fromiter((len(record.chunk_us) for record in records), np.int64, len(records))
    times = joined([record.chunk_us for record in records])
    within = np.ones(len(times) - 1, np.bool_)
    within[np.cumsum(counts)[:-1] - 1] = False  # From the last event of a request to the first of the next.
    return Gaps(records, np.diff(times)[within], times[1:][within], counts - 1)
