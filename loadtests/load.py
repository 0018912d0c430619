"""A stretch of load: which request is next, and what has become of those already sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gevent.event import Event

from history.records import RequestRecord
from loadtests.client import Job
from loadtests.messages import COMPLETE, PhaseDone, Progress
from loadtests.workloads import Workload

NS_PER_S = 1_000_000_000

Write = Callable[[RequestRecord], None]


class Tally:
    """Counts of one stretch of load."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = {"ok": 0, "error": 0, "aborted": 0, "unknown": 0}
        self.tokens = 0
        self._last_mono = time.monotonic()

    def send(self) -> None:
        if self.sent == sum(self.ended.values()):
            # Nobody waited for a token until now.
            self._last_mono = time.monotonic()
        self.sent += 1

    def add_tokens(self, count: int) -> None:
        self.tokens += count
        self._last_mono = time.monotonic()

    def progress(self, phase: str) -> Progress:
        return Progress(
            phase=phase,
            sent=self.sent,
            ok=self.ended["ok"],
            failed=self.ended["error"] + self.ended["unknown"],
            aborted=self.ended["aborted"],
            in_flight=self.sent - sum(self.ended.values()),
            tokens=self.tokens,
            last_token_age_s=round(time.monotonic() - self._last_mono, 3),
        )


@dataclass(frozen=True, slots=True)
class Slot:
    """One request of a workload and when it is due."""

    index: int
    due_ns: int | None
    """Offset from the begin of the schedule; None: as soon as somebody asks."""


def closed(indices: Iterable[int]) -> Iterator[Slot]:
    """Requests that are due whenever somebody is free to send them."""
    return (Slot(index, None) for index in indices)


@dataclass(frozen=True, slots=True)
class Begin:
    """The begin of a phase's schedule on both clocks."""

    wall_ns: int
    mono_ns: int

    @classmethod
    def at(cls, wall_ns: int) -> Begin:
        return cls(wall_ns, time.monotonic_ns() + wall_ns - time.time_ns())

    @classmethod
    def now(cls) -> Begin:
        return cls.at(time.time_ns())

    def until_s(self, offset_ns: int) -> float:
        """Seconds until an offset from the begin; negative when it has passed."""
        return (self.mono_ns + offset_ns - time.monotonic_ns()) / NS_PER_S


class Load:
    """Requests handed out in the order of their slots, each when it is due.

    A record that cannot be written ends the load: `write_error` tells why, and nothing more is sent.
    """

    def __init__(
        self,
        *,
        phase: str,
        workload: Workload,
        slots: Iterable[Slot],
        begin: Begin,
        worker: int,
        write: Write,
    ) -> None:
        self.phase = phase
        self.tally = Tally()
        self.write_error: str | None = None
        self._workload = workload
        self._slots: Iterator[Slot] = iter(slots)
        self._begin = begin
        self._worker = worker
        self._write = write
        self._stopped = Event()

    def stop(self) -> None:
        """Hand out nothing more, not even what somebody waits for."""
        self._stopped.set()

    def take(self) -> Job | None:
        """Wait until the next request is due, and count it as sent; None when there is none left."""
        if self.write_error is not None:
            return None
        slot = next(self._slots, None)
        if slot is None:
            return None
        prompt = self._workload.request(slot.index)
        held = slot.due_ns is not None and self._begin.until_s(slot.due_ns) < 0
        if slot.due_ns is not None:
            self._wait_until(slot.due_ns)
        if self._stopped.is_set():
            return None
        self.tally.send()
        return Job(
            id=f"{self.phase}-{slot.index}",
            prompt=prompt,
            phase=self.phase,
            worker=self._worker,
            intended_ns=time.time_ns() if slot.due_ns is None else self._begin.wall_ns + slot.due_ns,
            held=held,
        )

    def _wait_until(self, due_ns: int) -> None:
        # More than once, since a timer may fire a little early.
        while (left_s := self._begin.until_s(due_ns)) > 0 and not self._stopped.wait(left_s):
            continue

    def tokens(self, count: int) -> None:
        self.tally.add_tokens(count)

    def ended(self, record: RequestRecord) -> None:
        self.tally.ended[record.outcome] += 1
        if self.write_error is not None:
            # The file may end in half a line; another one behind it would spoil both.
            return
        try:
            self._write(record)
        except OSError as error:
            self.write_error = f"request records cannot be written: {error}"

    def progress(self) -> Progress:
        return self.tally.progress(self.phase)

    def done(self, stopped_because: str | None) -> PhaseDone:
        return phase_done(self.progress(), stopped_because or COMPLETE)


def phase_done(counts: Progress, reason: str) -> PhaseDone:
    return PhaseDone(
        phase=counts.phase,
        sent=counts.sent,
        ok=counts.ok,
        failed=counts.failed,
        aborted=counts.aborted,
        in_flight=counts.in_flight,
        tokens=counts.tokens,
        last_token_age_s=counts.last_token_age_s,
        reason=reason,
    )
