"""A stretch of load: which request is next, and what has become of those already sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from history.records import RequestRecord
from loadtests.client import Job
from loadtests.messages import COMPLETE, PhaseDone, Progress
from loadtests.workloads import Workload

Write = Callable[[RequestRecord], None]


class Tally:
    """Counts of one stretch of load."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = {"ok": 0, "error": 0, "aborted": 0, "unknown": 0}
        self.tokens = 0
        self._last_mono = time.monotonic()

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


class Load:
    """The requests with the given indices, in that order, handed to whoever asks next.

    A record that cannot be written ends the load: `write_error` tells why, and nothing more is sent.
    """

    def __init__(
        self, *, phase: str, workload: Workload, indices: Iterable[int], worker: int, write: Write
    ) -> None:
        self.phase = phase
        self.tally = Tally()
        self.write_error: str | None = None
        self._workload = workload
        self._indices: Iterator[int] = iter(indices)
        self._worker = worker
        self._write = write

    def take(self) -> Job | None:
        """The next request, counted as sent; None when there is none left."""
        if self.write_error is not None:
            return None
        index = next(self._indices, None)
        if index is None:
            return None
        prompt = self._workload.request(index)
        self.tally.sent += 1
        return Job(
            id=f"{self.phase}-{index}",
            prompt=prompt,
            phase=self.phase,
            worker=self._worker,
            intended_ns=time.time_ns(),
        )

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
