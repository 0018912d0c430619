"""Files of JSON Lines, read strictly, one record after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from history.records import Record

Line = TypeVar("Line", bound=Record)


class UnreadableRun(Exception):
    """A run directory that cannot be judged; the message says which file, which line, and why."""


def read_lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    """All records of a file, none where it is missing. Raises UnreadableRun.

    A last line without its newline was cut by a kill and is left out.
    """
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise UnreadableRun(f"{path}:{number}: {one_line(error)}") from error
                yield record
    except OSError as error:
        raise UnreadableRun(f"{path}: cannot be read: {error}") from error


def one_line(told: object) -> str:
    """What an error says, without its line breaks: it may quote what it does not like."""
    return " ".join(str(told).split())
