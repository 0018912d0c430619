"""A stretch of load: which request is next, and what has become of those already sent."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gevent.event import Event

from history.latency import itl_us, ttft_ms
from history.records import RequestRecord
from loadtests.arrival_schedule import DueConversation
from loadtests.clients.completion_request import Job
from loadtests.messages import (
    ITL_BOUNDS_S,
    TTFT_BOUNDS_S,
    Counted,
    LatencyReport,
    PhaseDone,
    Progress,
    StopReason,
)
from loadtests.workloads import Workload
from loadtests.workloads.workload import Script, Stage

NS_PER_S = 1_000_000_000
US_PER_MS = 1e3
US_PER_S = 1e6

Write = Callable[[RequestRecord], None]


class PhaseCounters:
    """Counts of one stretch of load."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = {"ok": 0, "error": 0, "aborted": 0, "unknown": 0}
        self.tokens = 0
        self._last_mono = time.monotonic()

    def send(self, requests: int) -> None:
        """Count requests as sent."""
        if self.sent == sum(self.ended.values()):
            # Nobody waited for a token until now.
            self._last_mono = time.monotonic()
        self.sent += requests

    def add_tokens(self, count: int) -> None:
        """Count received tokens."""
        self.tokens += count
        self._last_mono = time.monotonic()

    def progress(self, phase: str) -> Progress:
        """The counts so far."""
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


class LatencyHistograms:
    """TTFT and ITL of a phase's good answers, counted in buckets as they come in, for the live display.

    The records have every single time; judging and reports go by those.
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._ttft = _Buckets(TTFT_BOUNDS_S)
        self._itl = _Buckets(ITL_BOUNDS_S)

    def ended(self, record: RequestRecord) -> None:
        """Add the latencies of a request; only good answers count."""
        if record.outcome != "ok":
            return
        ttft = ttft_ms(record)
        if ttft is not None:
            self._ttft.add([ttft * US_PER_MS])
        self._itl.add(itl_us(record))

    def reading(self) -> LatencyReport:
        """All so far."""
        return LatencyReport(phase=self._phase, ttft=self._ttft.counted(), itl=self._itl.counted())


class _Buckets:
    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_us = [round(bound * US_PER_S) for bound in bounds_s]
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_us = 0.0

    def add(self, microseconds: Iterable[float]) -> None:
        values = sorted(microseconds)
        self._sum_us += sum(values)
        # Once for each bound takes less than once for each value.
        below = [bisect_right(values, bound_us) for bound_us in self._bounds_us]
        for bucket, (start, end) in enumerate(pairwise([0, *below, len(values)])):
            self._counts[bucket] += end - start

    def counted(self) -> Counted:
        return Counted(counts=list(self._counts), sum_s=self._sum_us / US_PER_S)


@dataclass(frozen=True, slots=True)
class ClockPoint:
    """A point in time on both clocks, such as the begin of a phase's schedule."""

    wall_ns: int
    mono_ns: int

    @classmethod
    def at(cls, wall_ns: int) -> ClockPoint:
        """The point at this wall clock time, ns."""
        return cls(wall_ns, time.monotonic_ns() + wall_ns - time.time_ns())

    @classmethod
    def now(cls) -> ClockPoint:
        """The present."""
        return cls.at(time.time_ns())


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Requests to be sent at once, and the conversation that they are part of."""

    jobs: tuple[Job, ...]
    script: Script
    next_index: int
    """Index of the next request."""


class Dispatcher:
    """Dispatches conversations to the users in order, each when it is due.

    A record that cannot be written ends the load: `write_error` has the reason, and nothing more is sent.
    """

    def __init__(
        self,
        *,
        phase: str,
        workload: Workload,
        slots: Iterable[DueConversation],
        begin: ClockPoint,
        worker: int,
        write: Write,
    ) -> None:
        self.phase = phase
        self.counters = PhaseCounters()
        self.latency = LatencyHistograms(phase)
        self.write_error: str | None = None
        self._workload = workload
        self._slots: Iterator[DueConversation] = iter(slots)
        self._begin = begin
        self._worker = worker
        self._write = write
        self._stopped = Event()

    def stop(self) -> None:
        """Dispatch nothing more, not even to users that wait."""
        self._stopped.set()

    def take(self) -> Dispatch | None:
        """Wait until the next conversation is due, and count its requests as sent; None: none is left."""
        slot = None if self.write_error is not None else next(self._slots, None)
        if slot is None:
            return None
        script = self._workload.script(slot.number)
        stage = next(script)
        index = slot.number * self._workload.chain_length
        if slot.due_ns is None:
            return self._dispatch(script, stage, index, time.time_ns(), client_queued=False)
        due_mono_ns = self._begin.mono_ns + slot.due_ns
        client_queued = time.monotonic_ns() > due_mono_ns
        self._wait_until(due_mono_ns)
        return self._dispatch(
            script, stage, index, self._begin.wall_ns + slot.due_ns, client_queued=client_queued
        )

    def follow(self, dispatch: Dispatch, records: Sequence[RequestRecord]) -> Dispatch | None:
        """The next requests of a conversation after these have ended; None after a failure or at its end."""
        if any(record.outcome != "ok" for record in records):
            return None
        ended = ClockPoint.now()
        try:
            stage = dispatch.script.send([tuple(record.token_ids) for record in records])
        except StopIteration:
            return None
        pause_ns = round(stage.pause_s * NS_PER_S)
        self._wait_until(ended.mono_ns + pause_ns)
        return self._dispatch(
            dispatch.script, stage, dispatch.next_index, ended.wall_ns + pause_ns, client_queued=False
        )

    def _dispatch(
        self, script: Script, stage: Stage, index: int, scheduled_ns: int, *, client_queued: bool
    ) -> Dispatch | None:
        if self._stopped.is_set() or self.write_error is not None:
            return None
        jobs = tuple(
            Job(
                id=f"{self.phase}-{at}",
                prompt=prompt,
                phase=self.phase,
                worker=self._worker,
                scheduled_ns=scheduled_ns,
                client_queued=client_queued,
            )
            for at, prompt in enumerate(stage.prompts, start=index)
        )
        self.counters.send(len(jobs))
        return Dispatch(jobs, script, index + len(jobs))

    def _wait_until(self, mono_ns: int) -> None:
        # More than once, since a timer may fire a little early.
        while (left_ns := mono_ns - time.monotonic_ns()) > 0 and not self._stopped.wait(left_ns / NS_PER_S):
            continue

    def ended(self, record: RequestRecord) -> None:
        """Count and record a request; after a failed write, records are dropped and the error is kept."""
        self.counters.ended[record.outcome] += 1
        self.latency.ended(record)
        if self.write_error is not None:
            # The file may end in half a line; another one behind it would spoil both.
            return
        try:
            self._write(record)
        except OSError as error:
            self.write_error = f"request records cannot be written: {error}"

    def progress(self) -> Progress:
        """The counts of the phase so far."""
        return self.counters.progress(self.phase)

    def done(self, stopped_because: StopReason | None) -> PhaseDone:
        """The final counts of the phase, with the reason of its end."""
        return phase_done(self.progress(), stopped_because or "complete")


def phase_done(counts: Progress, reason: Literal["complete", StopReason]) -> PhaseDone:
    """The final counts of a phase, with the reason of its end."""
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
