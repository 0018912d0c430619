"""The arrival process: when each request is due, and which worker sends it.

Both follow from seed and scenario, independent of the responses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from history.phase_spec import (
    Arrivals,
    Bursts,
    Closed,
    Constant,
    Gamma,
    Poisson,
    Ramp,
    Recorded,
    Spacing,
    Steps,
)
from loadtests.workloads.workload import TimedWorkload, Workload

NS_PER_S = 1e9

Times = NDArray[np.floating[Any]]
Due = Callable[[int], int]
"""Maps the index of a conversation in its phase to its scheduled time, ns from the phase's start."""


def due_times(arrivals: Arrivals, workload: Workload, numbers: range, seed: int, phase: str) -> Due | None:
    """Times at which the workload's conversations `numbers` are due; None: in a closed loop.

    The same in every process: all workers of a phase share one schedule. Raises ValueError when recorded
    times are requested and the workload has none.
    """
    if isinstance(arrivals, Recorded):
        return _recorded(workload, numbers, phase)
    times = schedule(arrivals, len(numbers), seed, phase)
    return None if times is None else lambda index: int(times[index])


def _recorded(workload: Workload, numbers: range, phase: str) -> Due:
    if not isinstance(workload, TimedWorkload):
        raise ValueError(f"phase {phase}: arrivals of kind trace need a workload of kind trace")
    begin_ns = workload.offset_ns(numbers[0])
    return lambda index: workload.offset_ns(numbers[index]) - begin_ns


def schedule(arrivals: Arrivals, count: int, seed: int, phase: str) -> NDArray[np.int64] | None:
    """Offsets of `count` arrivals from the start of the phase, ns, in order; None where none are drawn."""
    match arrivals:
        case Closed() | Recorded():
            return None
        case Constant(rate=rate):
            seconds: Times = np.arange(count) / rate
        case Poisson(rate=rate):
            seconds = np.cumsum(_random(seed, phase).standard_exponential(count)) / rate
        case Gamma(rate=rate, burstiness=shape):
            seconds = np.cumsum(_random(seed, phase).standard_gamma(shape, count)) / (shape * rate)
        case Ramp():
            seconds = _ramp(arrivals, _marks(arrivals.spacing, count, seed, phase))
        case Steps():
            seconds = _steps(arrivals, _marks(arrivals.spacing, count, seed, phase))
        case Bursts(size=size, every_s=every):
            seconds = np.arange(count) // size * every
    offsets: NDArray[np.int64] = np.rint(seconds * NS_PER_S).astype(np.int64)
    return offsets


def _marks(spacing: Spacing, count: int, seed: int, phase: str) -> Times:
    """Arrivals at rate 1. A changing rate bends them: arrival k comes when the rate's integral is mark k."""
    if spacing == "even":
        return np.arange(count, dtype=np.float64)
    return np.cumsum(_random(seed, phase).standard_exponential(count))


def _ramp(ramp: Ramp, marks: Times) -> Times:
    low, high, over = ramp.from_rate, ramp.to_rate, ramp.over_s
    climbed = (low + high) / 2 * over
    inside = np.minimum(marks, climbed)
    root = np.sqrt(low**2 + 2 * (high - low) / over * inside)
    # The quadratic formula turned over, so that equal rates do not divide by nothing.
    climbing: Times = np.divide(2 * inside, low + root, out=np.zeros_like(inside), where=inside > 0)
    beyond: Times = np.maximum(marks - climbed, 0) / high
    return climbing + beyond


def _steps(steps: Steps, marks: Times) -> Times:
    rates = np.array(steps.rates)
    ends = np.arange(len(rates) + 1) * steps.each_s
    sums = np.concatenate(([0.0], np.cumsum(rates * steps.each_s)))
    inside: Times = np.interp(marks, sums, ends)
    beyond: Times = np.maximum(marks - sums[-1], 0) / rates[-1]
    return inside + beyond


def _random(seed: int, phase: str) -> np.random.RandomState:
    # RandomState, since numpy promises that its stream never changes; that of Generator may.
    digest = hashlib.sha256(json.dumps(["arrivals", seed, phase]).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4").astype(np.uint32))


@dataclass(frozen=True, slots=True)
class DueConversation:
    """One conversation of a workload and the scheduled time of its first request."""

    number: int
    due_ns: int | None
    """Offset from the begin of the schedule, ns; None in a closed loop."""


def closed(numbers: Iterable[int]) -> Iterator[DueConversation]:
    """Conversations of a closed loop: due whenever a user is free."""
    return (DueConversation(number, None) for number in numbers)


@dataclass(frozen=True, slots=True)
class Share:
    """The conversations of one worker and how many of them it has under way at once."""

    first: int
    """Number with which the phase begins, over all workers."""
    numbers: range
    users: int

    def slots(self, due: Due | None) -> Iterator[DueConversation]:
        """The worker's conversations, each with its time in the schedule of the whole phase."""
        if due is None:
            return closed(self.numbers)
        return (DueConversation(number, due(number - self.first)) for number in self.numbers)


def share(*, first: int, conversations: int, concurrency: int, worker: int, workers: int) -> Share:
    """The part of worker `worker`, counted from 0.

    Every conversation belongs to exactly one worker, and the users of all workers add up to the concurrency
    (or to the conversations, when these are fewer). With fewer users than workers the last get nothing.
    """
    users = min(concurrency, conversations)
    active = min(workers, users)
    if worker >= active:
        return Share(first, range(0), 0)
    return Share(
        first=first,
        numbers=range(first + worker, first + conversations, active),
        users=users // active + (1 if worker < users % active else 0),
    )
