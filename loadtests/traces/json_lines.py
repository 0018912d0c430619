"""Formats of one JSON object a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from loadtests.traces.entry import Entry, MalformedLine, Parse, checked

Line = TypeVar("Line", bound=msgspec.Struct)


def json_lines(shape: type[Line], entry_of: Callable[[Line], Entry]) -> Callable[[str], Parse]:
    """The parser of lines of this shape; the first line says nothing about the others."""
    decoder = msgspec.json.Decoder(shape)

    def parse(line: str) -> Entry:
        try:
            parsed = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise MalformedLine(str(error)) from error
        return checked(entry_of(parsed))

    return lambda first: parse
