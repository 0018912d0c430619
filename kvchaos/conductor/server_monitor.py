"""Notices that the server died or stalled, and samples what its processes use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from history import layout
from history.events import CutShort
from history.jsonl import LineWriter
from kvchaos.polling import wait_until
from kvchaos.stacks.stack import Stack
from loadtests.messages import Progress

OBSERVE_EVERY_S = 1.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Incident:
    """Why a phase ends early."""

    reason: CutShort
    detail: str
    exit_code: int | None = None
    """Exit code of a dead server, negative for a signal."""
    seconds: float = 0.0
    """Duration of a stall: the time without a token."""


class ServerMonitor:
    """Checks a server and the progress of its load, about ten times a second."""

    def __init__(self, stack: Stack, stall_s: float) -> None:
        self._stack = stack
        self._stall_s = stall_s
        self._observed_at = 0.0

    def exited(self) -> Incident | None:
        """The exit of the server, on purpose or not; None while it runs."""
        code = self._stack.exit_code()
        if code is None:
            return None
        return Incident("server-dead", f"the server ended with code {code}", exit_code=code)

    def check(self, progress: Progress) -> Incident | None:
        """The incident at this moment, if any."""
        if incident := self.exited():
            return incident
        if progress.in_flight and progress.last_token_age_s > self._stall_s:
            return Incident(
                "stalled",
                f"{progress.in_flight} requests in flight and no token for {progress.last_token_age_s:.1f} s",
                seconds=progress.last_token_age_s,
            )
        return None

    def observe(self) -> None:
        """Refresh the registry of the server's processes, once a second."""
        now = time.monotonic()
        if now - self._observed_at >= OBSERVE_EVERY_S:
            self._observed_at = now
            self._stack.observe()

    def wait_for_exit(self, seconds: float) -> None:
        """Wait until the server has exited, at most `seconds`."""
        wait_until(lambda: not self._stack.alive(), seconds, POLL_S)


SAMPLE_EVERY_S = 1.0


class ResourceSampler:
    """Samples a server that runs. Raises OSError when a line cannot be written."""

    def __init__(self, stack: Stack, run_dir: Path) -> None:
        self._stack = stack
        self._writer = LineWriter(run_dir / layout.RESOURCES)
        self._sampled_at = 0.0

    def sample_if_due(self) -> None:
        """Sample when the last sample is a second old. Nothing is written of a server that does not run."""
        if time.monotonic() - self._sampled_at >= SAMPLE_EVERY_S:
            self._sample()

    def sample_now(self) -> None:
        """Sample whatever there is now, shared memory that was made just before included."""
        self._stack.observe()
        self._sample()

    def _sample(self) -> None:
        self._sampled_at = time.monotonic()
        record = self._stack.resources()
        if record is not None:
            self._writer.write(record)

    def close(self) -> None:
        """Close the file of samples."""
        self._writer.close()
