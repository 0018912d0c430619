"""Files of JSON Lines, read strictly, one record after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from history.plain_file import open_plain
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
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(kind)
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
