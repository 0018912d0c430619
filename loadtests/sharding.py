"""Which part of a phase each worker takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtests.load import Slot, closed


@dataclass(frozen=True, slots=True)
class Share:
    """The request indices of one worker and how many of them it keeps in flight."""

    first: int
    """Index with which the phase begins, over all workers."""
    indices: range
    users: int

    def slots(self, due_ns: NDArray[np.int64] | None) -> Iterator[Slot]:
        """The worker's requests, each with its time in the schedule of the whole phase."""
        if due_ns is None:
            return closed(self.indices)
        return (Slot(index, int(due_ns[index - self.first])) for index in self.indices)


def share(*, first: int, requests: int, concurrency: int, worker: int, workers: int) -> Share:
    """The part of worker `worker`, counted from 0.

    Every index belongs to exactly one worker, and the users of all workers add up to the concurrency
    (or to the requests, when these are fewer). With fewer users than workers the last workers get nothing.
    """
    users = min(concurrency, requests)
    active = min(workers, users)
    if worker >= active:
        return Share(first, range(0), 0)
    return Share(
        first=first,
        indices=range(first + worker, first + requests, active),
        users=users // active + (1 if worker < users % active else 0),
    )
