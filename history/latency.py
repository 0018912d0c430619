"""What the times of a request are called, and from which clock to which. Everything takes them from here.

A request is scheduled by the arrival process, and sent when the client gets to it. A server that freezes
holds back the client too: from the send time that looks like few slow requests (coordinated omission). So
every latency counts from the scheduled time, unless its name says `from send`. All are of good answers.
docs/metrics.md has the names of other tools, too.

Also here: the gaps between tokens of many requests at a time, the lag of event loops, percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, sub
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from history.columnar import Ints, wholes
from history.records import RequestRecord

NS_PER_MS = 1e6
US_PER_MS = 1e3


def schedule_lag_ms(record: RequestRecord) -> float:
    """Time from the scheduled time to the send time: the client's own delay, or its wait for a free slot."""
    return (record.start_ns - record.scheduled_ns) / NS_PER_MS


def ttft_ms(record: RequestRecord) -> float | None:
    """Time to first token: to the first event that carried tokens; None without one."""
    first = ttft_from_send_ms(record)
    return None if first is None else schedule_lag_ms(record) + first


def ttft_from_send_ms(record: RequestRecord) -> float | None:
    """Time to first token from the send time, ms; None when no token came."""
    return None if record.first_us is None else record.first_us / US_PER_MS


def e2el_ms(record: RequestRecord) -> float:
    """End-to-end latency: to the end of the answer."""
    return schedule_lag_ms(record) + e2el_from_send_ms(record)


def e2el_from_send_ms(record: RequestRecord) -> float:
    """End-to-end latency from the send time, ms."""
    return record.end_us / US_PER_MS


def tpot_ms(record: RequestRecord) -> float | None:
    """Time per output token: from the first event with tokens to the last, over the tokens but one.

    None with fewer than two tokens, and where several answers come in one stream.
    """
    tokens = sum(record.chunk_tokens)
    if tokens < 2 or record.choices > 1:
        return None
    return (record.chunk_us[-1] - record.chunk_us[0]) / (tokens - 1) / US_PER_MS


def itl_us(record: RequestRecord) -> Iterator[int]:
    """Inter-token latencies: between the events that carried tokens. Of many requests: `gaps`.

    None where several answers come in one stream, whose events say nothing about any of them.
    """
    if record.choices == 1:
        yield from map(sub, record.chunk_us[1:], record.chunk_us)


@dataclass(frozen=True, slots=True)
class Latencies:
    """The same of many requests, ms, float64 [requests]; NaN where a request has none."""

    schedule_lag: NDArray[np.float64]
    ttft_from_send: NDArray[np.float64]
    e2el_from_send: NDArray[np.float64]

    @property
    def ttft(self) -> NDArray[np.float64]:
        """Time to first token from the scheduled time, ms, float64 [requests]."""
        return self.schedule_lag + self.ttft_from_send

    @property
    def e2el(self) -> NDArray[np.float64]:
        """End-to-end latency from the scheduled time, ms, float64 [requests]."""
        return self.schedule_lag + self.e2el_from_send

    def of(self, chosen: NDArray[np.bool_]) -> Latencies:
        """The latencies of the chosen requests alone."""
        return Latencies(self.schedule_lag[chosen], self.ttft_from_send[chosen], self.e2el_from_send[chosen])


def latencies(records: Sequence[RequestRecord]) -> Latencies:
    """Several times as fast as request by request, and equal to the last bit."""
    end_us = np.fromiter(map(attrgetter("end_us"), records), np.int64, len(records))
    first_us = np.array([record.first_us for record in records], np.float64)
    return Latencies(schedule_lags_ms(records), first_us / US_PER_MS, end_us / US_PER_MS)


def schedule_lags_ms(records: Sequence[RequestRecord]) -> NDArray[np.float64]:
    """Schedule lags of many requests, ms."""
    start_ns = np.fromiter(map(attrgetter("start_ns"), records), np.int64, len(records))
    scheduled_ns = np.fromiter(map(attrgetter("scheduled_ns"), records), np.int64, len(records))
    lags_ms: NDArray[np.float64] = (start_ns - scheduled_ns) / NS_PER_MS
    return lags_ms


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
        """The longest gap of each request and when it ended; the first one of several."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        longest = np.maximum.reduceat(self.us, self.starts())
        indexes = np.flatnonzero(self.us == longest[owner])
        first = indexes[np.flatnonzero(np.diff(owner[indexes], prepend=-1))]
        return longest, self.until_us[first]


def gaps(records: Sequence[RequestRecord]) -> Iterator[Gaps]:
    """All inter-token latencies (ITL) in blocks, none empty; 0 between tokens that arrive together."""
    streamed = (record for record in records if len(record.chunk_us) > 1)
    while block := list(islice(streamed, BLOCK)):
        yield _gaps(block)


def _gaps(records: list[RequestRecord]) -> Gaps:
    times = wholes([record.chunk_us for record in records])
    within = np.ones(len(times.values) - 1, np.bool_)
    # From the last event of a request to the first of the next.
    within[np.cumsum(times.counts)[:-1] - 1] = False
    return Gaps(records, np.diff(times.values)[within], times.values[1:][within], times.counts - 1)


EVERY_US = 20_000
"""A load worker asks its event loop so often to be woken, and notes how much too late that was."""
LONGEST_US = 3_600_000_000
"""A damaged record may tell of years; those who would have come in an hour are enough to show any pause."""


def waits_ms(lags_us: Iterable[int]) -> NDArray[np.float64]:
    """How long those waited that wanted the loop at every moment of the time, one each `EVERY_US`.

    A pause leaves one sample, however long it was. The samples that would have come
    during it are added, each with what was left of it.
    """
    lags = np.fromiter(lags_us, np.float64)
    pauses = np.minimum(lags[lags > EVERY_US], LONGEST_US)
    missed = [np.arange(pause - EVERY_US, 0, -EVERY_US) for pause in pauses]
    return np.concatenate([lags, *missed]) / US_PER_MS


def percentile(ordered: Sequence[float] | NDArray[Any], percent: int) -> float | None:
    """The percentile by nearest rank: a measured value; None of nothing. The values are in order."""
    return ordered[_rank(len(ordered), percent)] if len(ordered) else None


def percentiles(values: Iterable[float] | NDArray[np.float64], *percents: int) -> list[float | None]:
    """Several, of values in any order; NaN in an array is no value."""
    if isinstance(values, np.ndarray):
        ordered = np.sort(values)[: len(values) - np.count_nonzero(np.isnan(values))]
    else:
        ordered = np.sort(np.fromiter(values, np.float64))
    if not len(ordered):
        return [None] * len(percents)
    return [float(ordered[_rank(len(ordered), percent)]) for percent in percents]


class Quantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Median and 99th percentile of some times, ms; None when there are none."""

    median: float | None
    p99: float | None

    @classmethod
    def of(cls, values_ms: Iterable[float] | NDArray[np.float64]) -> Quantiles:
        """Median and 99th percentile of some values, ms, by nearest rank."""
        return cls(*percentiles(values_ms, 50, 99))

    def __str__(self) -> str:
        return "-" if self.median is None or self.p99 is None else f"{self.median:.1f} / {self.p99:.1f}"


def _rank(count: int, percent: int) -> int:
    return math.ceil(count * percent / 100) - 1
