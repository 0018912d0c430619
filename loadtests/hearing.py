"""What the load workers have said so far, added up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.messages import Failed, Joined, PhaseDone, Progress, Ready, Report


@dataclass
class _Heard:
    """From one worker."""

    joined: Joined | None = None
    ready: bool = False
    counts: Progress | PhaseDone | None = None
    at_mono: float = 0.0
    """When the counts came."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long the quietest worker that is not done has said nothing."""

    worker: int
    seconds: float


class Hearing:
    """Noted by the threads that listen, asked by the conductor's."""

    def __init__(self, workers: int) -> None:
        self._heard = [_Heard() for _ in range(workers)]
        self._complaints: dict[int | None, str] = {}
        self._changed = threading.Condition()
        self._phase: str | None = None
        self._phase_began = 0.0

    def begin(self, phase: str) -> None:
        """A phase starts; what was counted before is forgotten."""
        with self._changed:
            self._phase = phase
            self._phase_began = time.monotonic()
            for heard in self._heard:
                heard.counts = None

    def note(self, worker: int | None, report: Report) -> None:
        """None: the master of the workers says it, of itself."""
        with self._changed:
            if isinstance(report, Failed):
                self._complaints[worker] = report.message
            elif worker is not None:
                self._note(self._heard[worker], report)
            self._changed.notify_all()

    def _note(self, heard: _Heard, report: Report) -> None:
        match report:
            case Joined():
                heard.joined = report
            case Ready():
                heard.ready = True
            case Progress() | PhaseDone() if report.phase == self._phase:
                heard.counts = report
                heard.at_mono = time.monotonic()
            case _:
                # A late line about a phase that is over, or one that is kept elsewhere.
                pass

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until something that was said, or a wake, makes it true; at most `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def complaint(self, worker: int | None) -> str | None:
        return self._complaints.get(worker)

    def ready(self) -> bool:
        with self._changed:
            return all(heard.ready for heard in self._heard)

    def joined(self) -> list[tuple[int, Joined]]:
        """Those that came from elsewhere."""
        with self._changed:
            return [(worker, heard.joined) for worker, heard in enumerate(self._heard) if heard.joined]

    def absent(self, join: str | None) -> list[tuple[int, str]]:
        """Those that are not ready, and what they lack; `join` is where they were to join."""
        with self._changed:
            late = [(worker, heard) for worker, heard in enumerate(self._heard) if not heard.ready]
        if join is None:
            return [(worker, "did not get ready") for worker, _ in late]
        lacks = f"has not joined; start it with: kvchaos worker --master {join}"
        return [(worker, "does not reach the server" if heard.joined else lacks) for worker, heard in late]

    def done(self) -> bool:
        with self._changed:
            return all(isinstance(heard.counts, PhaseDone) for heard in self._heard)

    def progress(self) -> Progress:
        """Where the phase stands over all workers, by their last words. The youngest last token counts.

        A worker that says nothing tells nothing of the server: its silence makes no token older.
        Raises RuntimeError before the first phase.
        """
        with self._changed:
            if self._phase is None:
                raise RuntimeError("no phase was started")
            counts = [heard.counts for heard in self._heard if heard.counts is not None]
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
        """Nobody is silent when all are done; a worker speaks several times a second until then."""
        now = time.monotonic()
        with self._changed:
            since = {
                worker: heard.at_mono if heard.counts is not None else self._phase_began
                for worker, heard in enumerate(self._heard)
                if not isinstance(heard.counts, PhaseDone)
            }
        if not since:
            return Silence(0, 0.0)
        quietest = min(since, key=since.__getitem__)
        return Silence(quietest, now - since[quietest])
