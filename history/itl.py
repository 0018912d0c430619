"""Inter-token latency (ITL): the times between the events of a stream that carried tokens.

Tokens that arrive together have an ITL of 0. Computed for many requests at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from history.ragged import Ints, wholes
from history.records import RequestRecord

BLOCK = 20_000
"""Requests taken at a time: few enough for little memory, many enough to be fast."""


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

    def starts(self) -> Ints:
        """The place of each request's first gap."""
        return np.cumsum(self.counts) - self.counts

    def longest(self) -> tuple[Ints, Ints]:
        """Of each request the longest gap, and when that ended; of several the first."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        longest = np.maximum.reduceat(self.us, self.starts())
        indexes = np.flatnonzero(self.us == longest[owner])
        first = indexes[np.flatnonzero(np.diff(owner[indexes], prepend=-1))]
        return longest, self.until_us[first]


def gaps(records: Sequence[RequestRecord]) -> Iterator[Gaps]:
    """All gaps in blocks, none of them empty."""
    streamed = (record for record in records if len(record.chunk_us) > 1)
    while block := list(islice(streamed, BLOCK)):
        yield _gaps(block)


def _gaps(records: list[RequestRecord]) -> Gaps:
    times = wholes([record.chunk_us for record in records])
    within = np.ones(len(times.values) - 1, np.bool_)
    # From the last event of a request to the first of the next.
    within[np.cumsum(times.counts)[:-1] - 1] = False
    return Gaps(records, np.diff(times.values)[within], times.values[1:][within], times.counts - 1)
