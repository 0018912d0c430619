"""The latest reports of all load workers, and their sums."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.messages import Failed, Joined, PhaseDone, Progress, Ready, Report


@dataclass
class _WorkerStatus:
    """The latest reports of one worker."""

    joined: Joined | None = None
    ready: bool = False
    counts: Progress | PhaseDone | None = None
    at_mono: float = 0.0
    """When the counts were received."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The worker that is not done and has been silent longest, and for how long."""

    worker: int
    seconds: float


class WorkerStatusBoard:
    """Written by the threads that read the reports, read by the conductor's thread."""

    def __init__(self, workers: int) -> None:
        self._statuses = [_WorkerStatus() for _ in range(workers)]
        self._failures: dict[int | None, str] = {}
        self._changed = threading.Condition()
        self._phase: str | None = None
        self._phase_began = 0.0

    def begin(self, phase: str) -> None:
        """A phase starts; the counts of the last one are dropped."""
        with self._changed:
            self._phase = phase
            self._phase_began = time.monotonic()
            for status in self._statuses:
                status.counts = None

    def note(self, worker: int | None, report: Report) -> None:
        """Record a report; `worker` None: of the master itself."""
        with self._changed:
            if isinstance(report, Failed):
                self._failures[worker] = report.message
            elif worker is not None:
                self._note(self._statuses[worker], report)
            self._changed.notify_all()

    def _note(self, status: _WorkerStatus, report: Report) -> None:
        match report:
            case Joined():
                status.joined = report
            case Ready():
                status.ready = True
            case Progress() | PhaseDone() if report.phase == self._phase:
                status.counts = report
                status.at_mono = time.monotonic()
            case _:
                # A late line about a phase that is over, or one that is kept elsewhere.
                pass

    def wake(self) -> None:
        """Make waiting threads check their condition again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a report or a wake makes it true; at most `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def failure(self, worker: int | None) -> str | None:
        """Why a worker failed; None when it did not."""
        return self._failures.get(worker)

    def ready(self) -> bool:
        """Whether all workers are ready."""
        with self._changed:
            return all(status.ready for status in self._statuses)

    def joined(self) -> list[tuple[int, Joined]]:
        """The workers that joined from other machines."""
        with self._changed:
            return [(worker, status.joined) for worker, status in enumerate(self._statuses) if status.joined]

    def absent(self, join: str | None) -> list[tuple[int, str]]:
        """The workers that are not ready, and why; `join` is the address for joining."""
        with self._changed:
            late = [(worker, status) for worker, status in enumerate(self._statuses) if not status.ready]
        if join is None:
            return [(worker, "did not get ready") for worker, _ in late]
        lacks = f"has not joined; start it with: kvchaos worker --master {join}"
        return [(worker, "does not reach the server" if status.joined else lacks) for worker, status in late]

    def done(self) -> bool:
        """Whether all workers have ended the phase."""
        with self._changed:
            return all(isinstance(status.counts, PhaseDone) for status in self._statuses)

    def progress(self) -> Progress:
        """The progress of the phase over all workers, by their latest reports, with the youngest last token.

        A silent worker is no evidence about the server: its silence makes no token older.
        Raises RuntimeError before the first phase.
        """
        with self._changed:
            if self._phase is None:
                raise RuntimeError("no phase was started")
            counts = [status.counts for status in self._statuses if status.counts is not None]
            waited_s = time.monotonic() - self._phase_began
            return Progress(
                phase=self._phase,
                sent=sum(count.sent for count in counts),
                ok=sum(count.ok for count in counts),
                failed=sum(count.failed for count in counts),
                aborted=sum(count.aborted for count in counts),
                in_flight=sum(count.in_flight for count in counts),
                tokens=sum(count.tokens for count in counts),
                last_token_age_s=min((count.last_token_age_s for count in counts), default=waited_s),
            )

    def silence(self) -> Silence:
        """Zero when all workers are done; until then each reports several times a second."""
        now = time.monotonic()
        with self._changed:
            since = {
                worker: status.at_mono if status.counts is not None else self._phase_began
                for worker, status in enumerate(self._statuses)
                if not isinstance(status.counts, PhaseDone)
            }
        if not since:
            return Silence(0, 0.0)
        quietest = min(since, key=since.__getitem__)
        return Silence(quietest, now - since[quietest])
