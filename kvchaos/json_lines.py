"""Files of JSON lines that commands append to over weeks: read strictly, appended durably.

The files of a run are `history.jsonl`'s; these outlive a run and are read by the command that writes them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from history.jsonl import one_line, open_plain
from kvchaos.errors import UsageError

T = TypeVar("T", bound=msgspec.Struct)


def read_json_lines(path: Path, decoder: msgspec.json.Decoder[T], advice: str = "") -> list[T]:
    """All whole lines; none where the file is missing. A last line that a kill has cut is left out.

    `advice` ends the message. Raises UsageError with file, line and problem.
    """
    found = []
    for number, line in enumerate(whole_lines(path).splitlines(), start=1):
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}:{number}: {one_line(error)}{advice}") from error
    return found


def whole_lines(path: Path) -> bytes:
    """The lines of a file up to its last newline; nothing where it is missing. Raises UsageError."""
    try:
        with open_plain(path) as file:
            content = file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return content[: content.rfind(b"\n") + 1]


def cut_incomplete_line(path: Path) -> None:
    """Remove what a killed writer left after the last newline. Raises UsageError."""
    length = len(whole_lines(path))
    try:
        if path.exists() and path.stat().st_size > length:
            os.truncate(path, length)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def append_json_lines(path: Path, lines: Sequence[msgspec.Struct]) -> None:
    """Append lines; they and the folder's entry are on the disk when this returns. Raises OSError."""
    with path.open("ab") as file:
        file.write(msgspec.json.Encoder().encode_lines(lines))
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
