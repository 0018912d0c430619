"""A process of the load that the conductor starts, speaks to by lines, and ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

HOME = Path(__file__).resolve().parent.parent
"""Where the package lies, so that the process finds it whatever the current directory is."""


class Starter(Protocol):
    """Starts the processes of the load, and learns of their ends."""

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the leader of a process group of its own, stdin and stdout unbuffered pipes, stderr the log.

        Raises OSError.
        """
        ...

    def ended(self, pid: int) -> None:
        """It has ended and was collected."""
        ...


class PlainStarter:
    """Keeps no record: for a load whose end its starter can wait for."""

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
        """Nobody has to know."""


class Child:
    """Leads a process group of its own, so that a Ctrl-C in the terminal is not its end. Raises OSError."""

    def __init__(self, module: str, arguments: Sequence[str], log: IO[bytes], starter: Starter) -> None:
        self._starter = starter
        self._process = starter.start([sys.executable, "-m", module, *arguments], HOME, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def tell(self, line: bytes) -> None:
        """A dead one hears nothing; its code tells of that."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            self._process.stdin.write(line)
        except BrokenPipeError:
            return

    def lines(self) -> Iterator[bytes]:
        """What it says, up to its end."""
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
