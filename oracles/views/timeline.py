"""Metrics and requests over time, for oracles that walk through a run scrape by scrape."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import numpy as np

from history.columnar import Ints
from history.events import ServerStop
from history.metrics import MetricLog
from history.reader import History, per_history
from history.records import RequestRecord

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000
_START, _END_US, _FIRST_US = attrgetter("start_ns"), attrgetter("end_us"), attrgetter("first_us")


def end_ns(record: RequestRecord) -> int:
    """Wall clock time at which a request ended."""
    return record.start_ns + record.end_us * NS_PER_US


def ends_ns(records: Sequence[RequestRecord]) -> Ints:
    """The same of many requests, int64 [requests]: several times as fast as one by one.

    A time beyond the range of the type, which only a damaged record has, is the last one of the range.
    """
    starts = np.fromiter(map(_START, records), np.int64, len(records))
    durations_us = np.fromiter(map(_END_US, records), np.int64, len(records))
    ends: Ints = starts + np.minimum(durations_us, (np.iinfo(np.int64).max - starts) // NS_PER_US) * NS_PER_US
    return ends


def first_tokens_ns(records: Sequence[RequestRecord]) -> Ints:
    """Wall clock times of the first tokens of requests that have some, int64 [requests]."""
    starts = np.fromiter(map(_START, records), np.int64, len(records))
    first_us = np.fromiter(map(_FIRST_US, records), np.int64, len(records))
    first: Ints = starts + first_us * NS_PER_US
    return first


@per_history
def by_phase(history: History) -> dict[str, list[RequestRecord]]:
    """The requests of each phase, the conductor's own among them, in the order of the history."""
    phases: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in history.requests:
        phases[record.phase].append(record)
    return dict(phases)


@dataclass(frozen=True, slots=True)
class Span:
    """An interval from the first start of some requests to their last end, wall clock."""

    first_ns: int
    last_ns: int


@per_history
def spans(history: History) -> dict[str, Span]:
    """The span of the requests of each phase."""
    return {name: span_of(records) for name, records in by_phase(history).items()}


def span_of(records: Sequence[RequestRecord]) -> Span:
    """The span of one request or more."""
    return Span(min(map(_START, records)), int(ends_ns(records).max()))


def totals(log: MetricLog, metric: str, **labels: str) -> list[float | None]:
    """Sum over the matching series of a metric at each scrape; None where none has a value."""
    sums = np.zeros(len(log))
    known = np.zeros(len(log), np.bool_)
    for series in log.find(metric, **labels):
        values, there = series.at_each(len(log))
        sums += np.where(there, values, 0.0)
        known |= there
    return [total if one else None for total, one in zip(sums.tolist(), known.tolist(), strict=True)]


def scraped_to_the_end(history: History) -> bool:
    """Whether scrapes were tried, with success or not, until the last request of a phase had ended."""
    phases = {phase.name for phase in history.plan.scenario.phases}
    ends = (span.last_ns for name, span in spans(history).items() if name in phases)
    return history.metrics.last_ns() >= max(ends, default=0)


class BusyTimes:
    """The times in which at least one client request was in flight."""

    def __init__(self, requests: list[RequestRecord]) -> None:
        starts = np.fromiter(map(_START, requests), np.int64, len(requests))
        ends = ends_ns(requests)
        order = np.argsort(starts)
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.append(True, starts[1:] > ends[:-1])[: len(starts)]
        self._starts: list[int] = starts[first].tolist()
        self._ends: list[int] = ends[np.append(first[1:], True)[: len(ends)]].tolist()

    def __contains__(self, t_ns: int) -> bool:
        index = bisect_right(self._starts, t_ns) - 1
        return index >= 0 and t_ns <= self._ends[index]

    def meets(self, first_ns: int, last_ns: int) -> bool:
        """Whether any of it lies between two times."""
        index = bisect_left(self._ends, first_ns)
        return index < len(self._starts) and self._starts[index] <= last_ns


def final_total(history: History, metric: str, **labels: str) -> float | None:
    """Increase of a counter over the run; a lower bound where an incarnation ended between two scrapes.

    None when the metric is absent or there was no scrape.
    """
    log = history.metrics
    ends = [at for at, (one, after) in enumerate(pairwise(log.incarnations)) if one != after]
    ends += [len(log) - 1] if len(log) else []
    grown = [total for end in ends if (total := log.total(end, metric, **labels)) is not None]
    first = before_the_run(history)
    if not grown or first is None:
        return sum(grown) if grown else None
    return sum(grown) - (log.total(first, metric, **labels) or 0.0)


def before_the_run(history: History) -> int | None:
    """The scrape from which the run counts; None where the server is fresh and counts from 0."""
    return 0 if history.plan.preceded_by or not history.plan.starts_server else None


def stop_line(history: History) -> int | None:
    """How many lines the server's log had when it was stopped on purpose; None when it was not."""
    return next((event.data.log_line for event in history.events_of(ServerStop)), None)


def lines_before_stop(history: History) -> list[str]:
    """The server's log up to the moment when it was stopped on purpose; what follows is shutdown noise."""
    return history.log[: stop_line(history)]


def release(history: History) -> tuple[int, int]:
    """Major and minor number of the vLLM under test. Raises ValueError when the version has none."""
    version = history.plan.versions.vllm
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise ValueError(f"not a vLLM version: {version!r}")
    return int(match[1]), int(match[2])
