"""What an installation works with: the progress that it shows, its lock, and the programs that it runs."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class InstallProgress(Protocol):
    """Receives the steps of an installation and the output of each."""

    def step(self, text: str) -> None:
        """A new step begins."""

    def detail(self, text: str) -> None:
        """A line of output of the current step."""


class SilentProgress:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def detail(self, text: str) -> None:
        """Show nothing."""


class PlainProgress:
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Print the name of a step."""
        self._print(text)

    def detail(self, text: str) -> None:
        """Print a line of output, except for lists of installed packages."""
        # uv lists every package it installed, more than a hundred; the log has them.
        if not text.startswith(" + "):
            self._print(f"  {text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress:
    """One line that changes in place."""

    def __init__(self, status: Status, width: int) -> None:
        self._status = status
        self._width = width
        self._step = ""

    def step(self, text: str) -> None:
        """Show the name of a step."""
        self._step = text
        self._status.update(escape(text))

    def detail(self, text: str) -> None:
        """Show a line of output after the step."""
        line = f"{self._step}: {text}"[: self._width]
        self._status.update(escape(line))


@contextmanager
def shown(console: Console) -> Iterator[InstallProgress]:
    """Progress that suits the console."""
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    with console.status("") as status:
        yield LiveProgress(status, max(20, console.width - 4))


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold the lock file `path`, whose folder must exist; `on_wait` is called once when another has it.

    Yields the file descriptor. A child process that inherits it keeps the lock for as long as it
    lives, so that what a killed command left running is waited for, too. The file itself stays:
    removing it would let two commands lock two different files.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


class CommandFailed(Exception):
    """A program ended with an error; `last_line` is the last line of its output."""

    def __init__(self, program: str, code: int, last_line: str) -> None:
        super().__init__(f"{program} ended with code {code}: {last_line or 'no output'}")
        self.program = program
        self.code = code
        self.last_line = last_line


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs programs one after another for one piece of work."""

    progress: InstallProgress
    folder: Path
    """Where the programs run; the suite's own folder would leak its settings and packages into them."""
    log: Path
    """Commands and all their output are appended here."""
    lock: int | None = None
    """File descriptor of a lock that each program keeps for as long as it lives."""

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> list[str]:
        """Run to the end and return the lines of output and errors together. Raises CommandFailed."""
        arguments = [str(argument) for argument in command]
        passed_fds = () if self.lock is None else (self.lock,)
        lines: list[str] = []
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(arguments)}\n")
            try:
                process = subprocess.Popen(
                    arguments,
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    pass_fds=passed_fds,
                )
            except OSError as error:
                raise CommandFailed(arguments[0], 127, str(error)) from error
            with process:
                try:
                    for line in process.stdout or ():
                        log.write(line)
                        lines.append(line.rstrip())
                        if lines[-1]:
                            self.progress.detail(lines[-1])
                except KeyboardInterrupt:
                    process.terminate()
                    raise
        if process.returncode != 0:
            output = [line.strip() for line in lines if line.strip()]
            raise CommandFailed(Path(arguments[0]).name, process.returncode, output[-1] if output else "")
        return lines
