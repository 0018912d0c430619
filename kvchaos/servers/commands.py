"""Running other programs while installing: output to the log and the progress line, nothing hidden."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvchaos.servers.progress import Progress


class CommandFailed(Exception):
    """A program ended with an error; `last_line` is the last thing it said."""

    def __init__(self, program: str, code: int, last_line: str) -> None:
        super().__init__(f"{program} ended with code {code}: {last_line or 'no output'}")
        self.program = program
        self.code = code
        self.last_line = last_line


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs programs one after another for one piece of work."""

    progress: Progress
    folder: Path
    """Where the programs run; the suite's own folder would leak its settings and packages into them."""
    log: Path
    """Commands and all their output are appended here."""
    lock: int | None = None
    """File descriptor of a lock that each program keeps for as long as it lives."""

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> list[str]:
        """Run to the end and return the lines of output and errors together. Raises CommandFailed."""
        words = [str(word) for word in command]
        kept = () if self.lock is None else (self.lock,)
        lines: list[str] = []
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(words)}\n")
            try:
                process = subprocess.Popen(
                    words,
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    pass_fds=kept,
                )
            except OSError as error:
                raise CommandFailed(words[0], 127, str(error)) from error
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
            said = [line.strip() for line in lines if line.strip()]
            raise CommandFailed(Path(words[0]).name, process.returncode, said[-1] if said else "")
        return lines
