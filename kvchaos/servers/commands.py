"""Running other programs while installing: output to the log and the progress line, nothing hidden."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvchaos.servers.install_progress import InstallProgress


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
