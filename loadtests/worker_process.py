"""A process of the load generator: the conductor starts it, exchanges lines with it, and ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

HOME = Path(__file__).resolve().parent.parent
"""The package's parent folder, so that the process finds the package from any current directory."""


class ProcessStarter(Protocol):
    """Starts the processes of the load generator, and is notified of their ends."""

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the leader of a process group of its own, stdin and stdout unbuffered pipes, stderr the log.

        Raises OSError.
        """
        ...

    def ended(self, pid: int) -> None:
        """It has ended and was collected."""
        ...


class PlainStarter:
    """Registers no process: for a caller that waits for the load's end itself."""

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=cwd,
            process_group=0,
        )

    def ended(self, pid: int) -> None:
        """Nothing to record."""


class WorkerProcess:
    """Leads its own process group, so that a Ctrl-C in the terminal does not end it. Raises OSError."""

    def __init__(
        self, module: str, arguments: Sequence[str], log: IO[bytes], starter: ProcessStarter
    ) -> None:
        self._starter = starter
        self._process = starter.start([sys.executable, "-m", module, *arguments], HOME, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, line: bytes) -> None:
        """Write a line to its stdin. No-op when it has ended; its exit code shows that."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            self._process.stdin.write(line)
        except BrokenPipeError:
            return

    def lines(self) -> Iterator[bytes]:
        """The lines of its stdout, up to its end."""
        yield from self._process.stdout or ()
        self._process.wait()

    def end(self, deadline: float) -> None:
        """Wait for its end up to this monotonic time, then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._starter.ended(self.pid)
