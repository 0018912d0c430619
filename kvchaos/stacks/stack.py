"""What the conductor asks of a stack, wherever its server runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from history.events import ContainerAction, ServerStart
from history.records import ResourceRecord
from kvchaos.errors import UsageError

GRACE_S = 10.0
"""From the polite signal to the one that cannot be refused."""


class ServerStartFailed(UsageError):
    """The server died or took too long before it could serve."""

    def __init__(self, message: str, *, exit_code: int | None, tail: tuple[str, ...]) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """None when it still ran; negative for a signal."""
        self.tail = tail
        """The last lines of its log."""


class ServerNotStopped(UsageError):
    """Something of the server remains after SIGKILL; it stays in the record."""


class Stack(Protocol):
    """A server under test, through all its lives. `stop` belongs on every way out.

    OSError from any of them: the record of the run could not be written.
    """

    def start(self) -> None:
        """Begin a life of the server; what a dead one left is removed before.

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
        """How this life ended, negative for a signal; None while it lasts and before the first."""
        ...

    def observe(self) -> None:
        """Keep the record of what runs fresh; to be called about once a second."""
        ...

    def happenings(self) -> Sequence[ContainerAction]:
        """What befell the server's containers since it was last asked, as seen by `observe`, in order."""
        ...

    def resources(self) -> ResourceRecord | None:
        """What the server's processes hold now; None when none of them runs or can be seen."""
        ...

    def serve(self, run_dir: Path) -> None:
        """Another run uses the server from now on: what belongs to that run goes into its directory."""
        ...

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End everything and remove what it left. Safe to repeat. Raises ServerNotStopped."""
        ...
