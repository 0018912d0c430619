"""What a line of a trace says, whatever its format."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NS_PER_S = 1_000_000_000
LONGEST_NS = 2**62
"""A time beyond this (146 years) is a slip, and would not go into a record."""
MOST_TOKENS = 2**31
"""Of a prompt or an answer."""


class MalformedLine(ValueError):
    """Why a line is no entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a trace."""

    at_ns: int
    """From any origin; only differences count."""
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int | str, ...] = ()
    """Names of the blocks that the prompt begins with; equal names are equal blocks."""


Parse = Callable[[str], Entry]
"""From a line to its entry. Raises MalformedLine."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a trace file is read."""

    parser: Callable[[str], Parse]
    """Makes the parser of a file from its first line. Raises MalformedLine."""
    has_header: bool
    """Whether that first line names the columns instead of being an entry."""
    block_tokens: int | None = None
    """Tokens of a block, where the format sets it."""


def checked(entry: Entry) -> Entry:
    """An entry that a server can be asked for. Raises MalformedLine."""
    if not 1 <= entry.prompt_tokens <= MOST_TOKENS:
        raise MalformedLine(f"a prompt of {entry.prompt_tokens} tokens")
    if not 0 <= entry.output_tokens <= MOST_TOKENS:
        raise MalformedLine(f"an answer of {entry.output_tokens} tokens")
    return entry


def nanoseconds(time: float, unit_ns: int) -> int:
    """A time in units of so many ns. Raises MalformedLine when no run can last so long."""
    if not abs(time) <= LONGEST_NS / unit_ns:
        raise MalformedLine("a time more than 146 years from the origin")
    return round(time * unit_ns)


def columns(header: str, names: Sequence[str]) -> list[int]:
    """Where the columns with these names are. Raises MalformedLine."""
    found = cells(header)
    missing = [name for name in names if name not in found]
    if missing:
        raise MalformedLine(f"no column {missing[0]!r}; there are {', '.join(found)}")
    return [found.index(name) for name in names]


def cells(line: str) -> list[str]:
    """The cells of a line of CSV. Raises MalformedLine."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise MalformedLine(f"is not CSV: {error}") from error


def pick(line: str, indices: Sequence[int]) -> list[str]:
    """Some cells of a line of CSV. Raises MalformedLine."""
    found = cells(line)
    if len(found) <= max(indices):
        raise MalformedLine(f"{len(found)} columns")
    return [found[index] for index in indices]


def whole(text: str, name: str) -> int:
    """A whole number; some tools write it as a decimal. Raises MalformedLine."""
    try:
        number = float(text)
    except ValueError:
        raise MalformedLine(f"{name} {text!r} is no number") from None
    if not number.is_integer():
        raise MalformedLine(f"{name} {text!r} is no whole number")
    return int(number)
