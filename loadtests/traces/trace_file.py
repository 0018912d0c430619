"""A trace on disk: read once to check what will be played, then again, piece by piece, as it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from history.jsonl import open_plain
from loadtests.traces.trace_formats import NS_PER_S, Entry, Format, MalformedLine

T = TypeVar("T")

LONGEST_LINE = 1 << 20
"""Bytes. An entry that names ten thousand blocks takes a tenth."""
PIECE = 64
"""Entries read at a time. Of each piece the place in the file is remembered: 8 bytes."""


@dataclass(frozen=True, slots=True)
class TraceSection:
    """The part of a trace that is played, in the trace's own time, from its first line on."""

    from_s: float = 0.0
    to_s: float | None = None
    entries: int | None = None

    def is_over(self, at_s: float, entries: int) -> bool:
        by_count = self.entries is not None and entries >= self.entries
        return by_count or (self.to_s is not None and at_s >= self.to_s)


class TraceFile:
    """Entries of the cut, from 0. Any order; forward costs one read of the file in all.

    Raises ValueError, one line with file, line and reason: an unreadable file, a malformed line, times that
    run backwards, nothing left by the cut.
    """

    def __init__(self, path: Path, kind: Format, cut: TraceSection) -> None:
        self._path = path
        self._cut = cut
        self._offsets = array("Q")
        self._count = 0
        self.end_ns = 0
        """When the last entry of the cut is due, in the trace's own time."""
        self._piece: tuple[int, list[Entry]] = (-1, [])
        try:
            with open_plain(path) as file:
                self._parse = self._at_line(1, kind.parser, file.readline(LONGEST_LINE))
                if not kind.has_header:
                    file.seek(0)
                self.begin_ns = self._scan(file, first_line=2 if kind.has_header else 1)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error

    def __len__(self) -> int:
        return self._count

    def entry(self, index: int) -> Entry:
        """Raises IndexError beyond the end, OSError when the file is gone."""
        if not 0 <= index < self._count:
            raise IndexError(f"{self._path}: no entry {index}; there are {self._count}")
        piece, offset = divmod(index, PIECE)
        if self._piece[0] != piece:
            self._piece = (piece, self._read(piece))
        return self._piece[1][offset]

    def _read(self, piece: int) -> list[Entry]:
        with self._path.open("rb") as file:
            file.seek(self._offsets[piece])
            count = min(PIECE, self._count - piece * PIECE)
            return [self._parse(line.decode()) for line in islice(file, count)]

    def _scan(self, file: BinaryIO, first_line: int) -> int:
        """Check the lines to the end of the cut, note where its entries are; gives the time of the first."""
        begin: int | None = None
        origin = before = None
        for number, (offset, text) in enumerate(_lines(file), start=first_line):
            entry = self._at_line(number, self._parse, text)
            if before is not None and entry.at_ns < before:
                raise ValueError(f"{self._path}:{number}: earlier than the line before")
            before = entry.at_ns
            origin = before if origin is None else origin
            at_s = (entry.at_ns - origin) / NS_PER_S
            if self._cut.is_over(at_s, self._count):
                break
            if at_s < self._cut.from_s:
                continue
            begin = entry.at_ns if begin is None else begin
            if self._count % PIECE == 0:
                self._offsets.append(offset)
            self.end_ns = entry.at_ns
            self._count += 1
        if begin is None:
            raise ValueError(f"{self._path}: no entry in the part to be played")
        return begin

    def _at_line(self, number: int, read: Callable[[str], T], text: bytes) -> T:
        if len(text) >= LONGEST_LINE:
            raise ValueError(f"{self._path}:{number}: is longer than {LONGEST_LINE >> 20} MiB")
        try:
            return read(text.decode())
        except UnicodeDecodeError:
            raise ValueError(f"{self._path}:{number}: is not UTF-8 text") from None
        except MalformedLine as error:
            raise ValueError(f"{self._path}:{number}: {error}") from error


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Every line with its offset in the file."""
    offset = file.tell()
    while text := file.readline(LONGEST_LINE):
        yield offset, text
        offset += len(text)
