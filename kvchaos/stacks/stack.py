"""The interface of a stack to the conductor, wherever its server runs."""

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
        """Of this incarnation, negative for a signal; None while it runs and before the first."""
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

    def serve(self, run_dir: Path) -> None:
        """Another run uses the server from now on: what belongs to that run goes into its directory."""
        ...

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End everything and remove what it left. Safe to repeat. Raises ServerNotStopped."""
        ...
