"""The interface of a stack to the conductor, and the wait until a server is ready."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from chaos.outside.faults.server_termination import Restarter, ServerTarget
from history.events import ContainerAction, ServerStart
from history.records import ResourceRecord
from kvchaos.errors import UsageError
from kvchaos.stacks.server_command import Launch
from loadtests.target import is_healthy

GRACE_S = 10.0
"""Seconds from SIGTERM to SIGKILL."""


class ServerStartFailed(UsageError):
    """The server died or took too long before it could serve."""

    def __init__(self, message: str, *, exit_code: int | None, tail: tuple[str, ...]) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """None when it still ran; negative for a signal."""
        self.tail = tail
        """The last lines of its log."""


class ServerNotStopped(UsageError):
    """Something of the server remains after SIGKILL; it stays in the registry."""


class Stack(Protocol):
    """A server under test, through all its incarnations. `stop` is to be called however the run ends.

    OSError from any of them: the process registry could not be written.
    """

    def start(self) -> None:
        """Start an incarnation of the server; what a dead one left is removed before.

        Raises UsageError when it cannot be started, RuntimeError while it runs.
        """
        ...

    def wait_ready(self, deadline_s: float) -> None:
        """Return when /health answers 200. Raises ServerStartFailed when the server dies or time is up."""
        ...

    def identity(self) -> ServerStart:
        """What names this incarnation in the history: process id of its leader, port and the like."""
        ...

    def alive(self) -> bool:
        """Whether the server runs; a paused one does."""
        ...

    def exit_code(self) -> int | None:
        """Exit code of this incarnation, negative for a signal; None while it runs and before the first."""
        ...

    def observe(self) -> None:
        """Refresh the process registry and the container events; to be called about once a second."""
        ...

    def container_events(self) -> Sequence[ContainerAction]:
        """Actions on the server's containers since the last call, as of the last `observe`, in order."""
        ...

    def resources(self) -> ResourceRecord | None:
        """Usage of the server's processes now; None when none of them runs or can be observed."""
        ...

    def fault_target(self, restarter: Restarter) -> ServerTarget | None:
        """The server as a target of faults; None where its processes cannot be reached."""
        ...

    def serve(self, run_dir: Path) -> None:
        """Another run uses the server from now on: what belongs to that run goes into its directory."""
        ...

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End everything and remove what it left. Safe to repeat. Raises ServerNotStopped."""
        ...


POLL_S = 0.25
TIMEOUT_S = 2.0
OBSERVE_EVERY_S = 1.0


def wait_until_healthy(
    stack: Stack, launch: Launch, log: Path, deadline_s: float, reported_log: Path | None = None
) -> None:
    """Return when /health answers 200. Raises ServerStartFailed when the server dies or time is up.

    `reported_log` is where the user finds the log, if that is another file.
    """
    reported = reported_log or log
    deadline = time.monotonic() + deadline_s
    observe_at = 0.0
    while not is_healthy(launch.base_url, TIMEOUT_S):
        now = time.monotonic()
        code = stack.exit_code()
        if code is not None:
            raise _not_ready(f"died before it was ready (exit code {code})", code, log, reported)
        if now >= deadline:
            raise _not_ready(f"was not ready after {deadline_s:g} s", None, log, reported)
        if now >= observe_at:
            stack.observe()
            observe_at = now + OBSERVE_EVERY_S
        time.sleep(POLL_S)
    stack.observe()


def _not_ready(what: str, code: int | None, log: Path, reported: Path) -> ServerStartFailed:
    tail = last_lines(log)
    last = f"; its last line: {tail[-1]}" if tail else ""
    return ServerStartFailed(f"the server {what}; see {reported}{last}", exit_code=code, tail=tail)


TAIL_BYTES = 64 * 1024
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def last_lines(log: Path, lines: int = 15) -> tuple[str, ...]:
    """The last lines with a letter or digit, terminal codes removed; empty when there is no log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    plain = TERMINAL_CODES.sub("", text).splitlines()
    meaningful = [line.rstrip() for line in plain if any(char.isalnum() for char in line)]
    return tuple(meaningful[-lines:])
