"""Child processes: started as leaders of their own process groups, and ended with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

HOME = Path(__file__).resolve().parent.parent
"""The package's parent folder, so that the process finds the package from any current directory."""


def start_with_stdin(
    command: Sequence[str],
    cwd: Path = HOME,
    *,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | None = None,
    bufsize: int = -1,
) -> subprocess.Popen[bytes]:
    """Start a child that a Ctrl-C in the terminal does not reach, and that leaves when its stdin ends.

    It stays in this session: the kernel shares the processors out by session. Raises OSError.
    """
    return subprocess.Popen(
        command,
        bufsize=bufsize,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        process_group=0,
    )


def wait_or_kill(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Wait for the end of a child at most so long, then kill it; it has ended afterwards."""
    try:
        process.wait(max(0.0, grace_s))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def logged_child(
    command: Sequence[str | Path],
    log: IO[bytes],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A child without input, all its output in the log. Its process group is killed if it outlives the block.

    Raises OSError when it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=dict(environment),
        process_group=0,
        pass_fds=tuple(pass_fds),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class ProcessStarter(Protocol):
    """Starts the processes of the load generator, and is notified of their ends."""

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the leader of a process group of its own, stdin and stdout unbuffered pipes, stderr the log.

        Raises OSError.
        """
        ...

    def ended(self, pid: int) -> None:
        """Report that a process has ended and was collected."""
        ...


class PlainStarter:
    """Registers no process: for a caller that waits for the load's end itself."""

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process with a pipe to its stdin and one from its stdout; its stderr goes to `log`."""
        return start_with_stdin(command, cwd, stdout=subprocess.PIPE, stderr=log, bufsize=0)

    def ended(self, pid: int) -> None:
        """Nothing to record."""


class WorkerProcess:
    """A process of the load generator, and the lines that are exchanged with it. Raises OSError."""

    def __init__(
        self, module: str, arguments: Sequence[str], log: IO[bytes], starter: ProcessStarter
    ) -> None:
        self._starter = starter
        self._process = starter.start([sys.executable, "-m", module, *arguments], HOME, log)

    @property
    def pid(self) -> int:
        """Process id."""
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
        wait_or_kill(self._process, deadline - time.monotonic())

    def close(self) -> None:
        """Close both pipes, and report the process as ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._starter.ended(self.pid)
