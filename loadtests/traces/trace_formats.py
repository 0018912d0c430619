"""What a line of a trace says, and the formats in which traces are published."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

NS_PER_US, NS_PER_MS, NS_PER_S = 1_000, 1_000_000, 1_000_000_000
LONGEST_NS = 2**62
"""A time beyond this (146 years) is a slip, and would not go into a record."""
MOST_TOKENS = 2**31
"""Most tokens of a prompt or an answer."""
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
"""Time, tokens of the prompt, tokens of the answer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Line = TypeVar("Line", bound=msgspec.Struct)


class MalformedLine(ValueError):
    """Why a line is no entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a trace."""

    at_ns: int
    """Time from any origin; only differences count."""
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int | str, ...] = ()
    """Names of the blocks that the prompt begins with; equal names are equal blocks."""


Parse = Callable[[str], Entry]
"""Parser of a line. Raises MalformedLine."""


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
    """Indexes of the columns with these names. Raises MalformedLine."""
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
        raise MalformedLine(f"{name} {text!r} is not a number") from None
    if not number.is_integer():
        raise MalformedLine(f"{name} {text!r} is not a whole number")
    return int(number)


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


def csv_lines(names: Sequence[str], time_ns: Callable[[str], int]) -> Callable[[str], Parse]:
    """The parser of CSV. `names`: of the columns with time, tokens of the prompt and tokens of the answer."""

    def parser(header: str) -> Parse:
        indices = columns(header, names)

        def parse(line: str) -> Entry:
            time, prompt, output = pick(line, indices)
            return checked(
                Entry(
                    at_ns=time_ns(time),
                    prompt_tokens=whole(prompt, names[1]),
                    output_tokens=whole(output, names[2]),
                )
            )

        return parse

    return parser


def _azure_time_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedLine(f"{AZURE_COLUMNS[0]} {text!r} is not a date and time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1) * NS_PER_US


def _burstgpt_time_ns(text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        raise MalformedLine(f"{BURSTGPT_COLUMNS[0]} {text!r} is not a number") from None
    if not math.isfinite(seconds):
        raise MalformedLine(f"{BURSTGPT_COLUMNS[0]} {text!r} is not a time")
    return nanoseconds(seconds, NS_PER_S)


class MooncakeLine(msgspec.Struct):
    """Times in milliseconds. Fields that are not listed are of no use here."""

    timestamp: int | float
    input_length: int
    output_length: int
    hash_ids: list[int]


def _mooncake_entry(line: MooncakeLine) -> Entry:
    return Entry(
        at_ns=nanoseconds(line.timestamp, NS_PER_MS),
        prompt_tokens=line.input_length,
        output_tokens=line.output_length,
        blocks=tuple(line.hash_ids),
    )


class OwnLine(msgspec.Struct, forbid_unknown_fields=True):
    """This software's own. `blocks` names those that the prompt begins with; equal names are equal blocks."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: list[int | str] = msgspec.field(default_factory=list)


def _own_entry(line: OwnLine) -> Entry:
    return Entry(
        at_ns=nanoseconds(line.at_s, NS_PER_S),
        prompt_tokens=line.prompt_tokens,
        output_tokens=line.output_tokens,
        blocks=tuple(line.blocks),
    )


FORMATS: dict[str, Format] = {
    # The time is a date and time of day; without a zone it is taken as UTC.
    "azure": Format(parser=csv_lines(AZURE_COLUMNS, _azure_time_ns), has_header=True),
    # In seconds. A request that failed stands there with an answer of 0 tokens.
    "burstgpt": Format(parser=csv_lines(BURSTGPT_COLUMNS, _burstgpt_time_ns), has_header=True),
    # A hash id stands for a block of 512 tokens together with all before it.
    "mooncake": Format(parser=json_lines(MooncakeLine, _mooncake_entry), has_header=False, block_tokens=512),
    "own": Format(parser=json_lines(OwnLine, _own_entry), has_header=False),
}
"""Azure's LLM inference traces, BurstGPT, Mooncake's open traces, and this software's own."""
