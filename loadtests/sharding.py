"""Which part of a phase each worker takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The request indices of one worker and how many of them it keeps in flight."""

    indices: range
    users: int


def share(*, first: int, requests: int, concurrency: int, worker: int, workers: int) -> Share:
    """The part of worker `worker`, counted from 0.

    Every index belongs to exactly one worker, and the users of all workers add up to the concurrency
    (or to the requests, when these are fewer). With fewer users than workers the last workers get nothing.
    """
    users = min(concurrency, requests)
    active = min(workers, users)
    if worker >= active:
        return Share(range(0), 0)
    return Share(
        indices=range(first + worker, first + requests, active),
        users=users // active + (1 if worker < users % active else 0),
    )
