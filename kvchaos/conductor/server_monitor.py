"""Monitors the server while load runs: has it exited, does it make progress?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from history.events import CutShort
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
    """Of a dead server, negative for a signal."""
    seconds: float = 0.0
    """Of a stall: how long no token has come."""


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
        deadline = time.monotonic() + seconds
        while self._stack.alive() and time.monotonic() < deadline:
            time.sleep(POLL_S)
