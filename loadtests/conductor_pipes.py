"""A load process's end of the pipes to the conductor: commands come on stdin, reports go to stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgspec
from gevent.fileobject import FileObjectPosix

from loadtests.messages import Command, Quit, Report


def own_pipes() -> tuple[int, int]:
    """Stdin and stdout under private numbers.

    Whatever else prints goes to stderr. A child process must not see our stdin either: gevent makes the
    standard files of a child blocking, and with them ours, since both are the same pipe.
    """
    commands, reports = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, reports


def read_commands(fd: int, put: Callable[[Command], None]) -> None:
    """Pass commands to `put` as they arrive. The end of the file, and an invalid line, are a `Quit`."""
    decoder = msgspec.json.Decoder(Command)
    with FileObjectPosix(fd, "rb") as lines:
        for line in lines:
            try:
                put(decoder.decode(line))
            except msgspec.MsgspecError as error:
                sys.stderr.write(f"not a command: {line!r}: {error}\n")
                break
    put(Quit())


class ReportPipe:
    """Writes reports as lines to the conductor. Raises BrokenPipeError when it is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, report: Report) -> None:
        """Write one report."""
        os.write(self._fd, msgspec.json.encode(report) + b"\n")

    def forward(self, worker: int | None, report: bytes) -> None:
        """Forward an encoded report unchanged; the reader decodes a WorkerReport."""
        number = b"null" if worker is None else b"%d" % worker
        os.write(self._fd, b'{"worker":%b,"report":%b}\n' % (number, report))
