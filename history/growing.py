"""Files of JSON Lines that others still write to: each line is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import msgspec

from history.lines import Line, UnreadableRun, one_line
from history.plain_file import open_plain


@dataclass(slots=True)
class _Position:
    """How far a file was read."""

    bytes: int = 0
    lines: int = 0


class GrowingFiles(Generic[Line]):
    """All files of a folder whose names fit a pattern, new ones among them."""

    def __init__(
        self, folder: Path, pattern: str, kind: type[Line], revise: Callable[[Line], Line] | None = None
    ) -> None:
        """`revise`: as of `history.lines.read_lines`."""
        self._folder = folder
        self._pattern = pattern
        self._decoder = msgspec.json.Decoder(kind)
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
