"""Which part of a phase each worker takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.arrival_schedule import Due
from loadtests.dispatcher import DueConversation, closed


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
