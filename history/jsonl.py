"""Files of JSON Lines: appended to line by line, read strictly, and followed while others still write.

Files that people name are opened only when they are regular files: a pipe or a device may never end.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, Self, TypeVar

import msgspec

from history.line_versions import decoder_of
from history.records import Record

LONGEST_MESSAGE = 1000
"""Characters."""
Line = TypeVar("Line", bound=Record)


class UnreadableRun(Exception):
    """A run directory that cannot be judged; the message says which file, which line, and why."""


def read_lines(path: Path, kind: type[Line], revise: Callable[[Line], Line] | None = None) -> Iterator[Line]:
    """All records of a file, none where it is missing. Raises UnreadableRun.

    A last line without its newline was cut by a kill and is left out. `revise` brings records of earlier
    versions into the form of today, or raises msgspec.ValidationError.
    """
    return decoded_lines(path, decoder_of(kind), revise)


def decoded_lines(
    path: Path, decoder: msgspec.json.Decoder[Line], revise: Callable[[Line], Line] | None = None
) -> Iterator[Line]:
    """The lines of a file like `read_lines`, decoded by a decoder."""
    if not path.exists():
        return
    try:
        with open_plain(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = decoder.decode(line)
                    if revise is not None:
                        record = revise(record)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise UnreadableRun(f"{path}:{number}: {one_line(error)}") from error
                yield record
    except OSError as error:
        raise UnreadableRun(f"{path}: cannot be read: {error}") from error


def one_line(error: object) -> str:
    """The message of an error without line breaks, cut to LONGEST_MESSAGE: it may quote its input."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


@dataclass(slots=True)
class _Position:
    """How far a file was read."""

    bytes: int = 0
    lines: int = 0


class GrowingFiles(Generic[Line]):
    """All files of a folder whose names fit a pattern, new ones among them. Each line is read once."""

    def __init__(
        self, folder: Path, pattern: str, kind: type[Line], revise: Callable[[Line], Line] | None = None
    ) -> None:
        """`revise`: as of `read_lines`."""
        self._folder = folder
        self._pattern = pattern
        self._decoder = decoder_of(kind)
        self._revise = revise
        self._read: dict[Path, _Position] = {}

    def new(self) -> Iterator[Line]:
        """The whole lines that were added since the last call, in the order of the names of the files.

        A last line without its newline is still being written. Raises UnreadableRun.
        """
        for path in sorted(self._folder.glob(self._pattern)):
            yield from self._new_of(path)

    def _new_of(self, path: Path) -> Iterator[Line]:
        position = self._read.setdefault(path, _Position())
        try:
            with open_plain(path) as file:
                file.seek(position.bytes)
                added = file.read()
        except OSError as error:
            raise UnreadableRun(f"{path}: cannot be read: {error}") from error
        for line in added[: added.rfind(b"\n") + 1].splitlines(keepends=True):
            position.bytes += len(line)
            position.lines += 1
            try:
                record = self._decoder.decode(line)
                if self._revise is not None:
                    record = self._revise(record)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise UnreadableRun(f"{path}:{position.lines}: {one_line(error)}") from error
            yield record


class LineWriter:
    """Appends records to one file. Safe to use from several threads of one process.

    Raises OSError when the line could not be written whole (a full disk, for example).
    """

    def __init__(self, path: Path) -> None:
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, record: msgspec.Struct) -> None:
        """Append one record and hand it to the kernel."""
        self.append(self._encoder.encode(record) + b"\n")

    def append(self, lines: bytes) -> None:
        """Append records that are lines already."""
        with self._lock:
            done = 0
            while done < len(lines):
                done += os.write(self._fd, lines[done:])

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for anything that is not a regular file."""
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "Is no regular file", str(path))
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor has no path
