"""A recorded trace as a workload: its file, read in bounded memory, and prompts made up to fit."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

from pydantic import Field, field_validator

from history.jsonl import open_plain
from history.strict_model import Strict
from loadtests.traces.trace_formats import FORMATS, LONGEST_NS, NS_PER_S, Entry, Format, MalformedLine
from loadtests.workloads.dimensions import LENGTH
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, Prompt, WorkloadKind, number_tokens

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
        """Whether the part ends before an entry at `at_s`, after so many entries of it."""
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


class TraceParams(Strict):
    """Parameters of `trace`. Lengths are tokens."""

    path: str
    """Path of the trace; in a scenario file, relative to the file's folder."""
    format: str
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How many times faster than recorded."""
    from_s: float = Field(default=0.0, ge=0)
    """The part that is played, in the trace's own time, from its first line on."""
    to_s: float | None = Field(default=None, gt=0)
    entries: int | None = Field(default=None, ge=1)
    """The most entries of that part that are played."""
    scale: Annotated[float, LENGTH] = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Lengths are multiplied by this, and with them the blocks."""
    block_tokens: int = Field(default=16, ge=1)
    """Tokens of a block, where the format does not set it; before scaling."""
    max_prompt_tokens: Annotated[int, LENGTH] = Field(default=512, ge=NUMBER_TOKENS)
    """Longer ones are cut to this."""
    max_output_tokens: Annotated[int, LENGTH] = Field(default=128, ge=1)

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"no format {name!r}; there are {', '.join(FORMATS)}")
        return name


class Trace(OneShot):
    """Entry i of the part that is played is request i. Its blocks are drawn by their names."""

    def __init__(self, params: TraceParams, name: str, seed: int) -> None:
        kind = FORMATS[params.format]
        cut = TraceSection(from_s=params.from_s, to_s=params.to_s, entries=params.entries)
        self._params = params
        self._name = name
        # Neither where the trace lies nor how fast it is played changes a prompt.
        self._draw = Draw(f"{seed}/{name}")
        self._block_tokens = _scaled_block(kind.block_tokens or params.block_tokens, params.scale)
        self._file = TraceFile(Path(params.path), kind, cut)
        if (self._file.end_ns - self._file.begin_ns) / params.speed > LONGEST_NS:
            raise ValueError(
                f"speed: at {params.speed:g} the trace takes more than a century; give a larger one"
            )

    @property
    def distinct(self) -> int:
        """Number of entries of the part."""
        return len(self._file)

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer."""
        return self._params.max_prompt_tokens + self._params.max_output_tokens

    def __len__(self) -> int:
        return len(self._file)

    def offset_ns(self, number: int) -> int:
        """Time at which an entry is due, from the begin of the part that is played."""
        return round((self._file.entry(number).at_ns - self._file.begin_ns) / self._params.speed)

    def request(self, index: int) -> Prompt:
        """The prompt of an entry of the part, by its index."""
        params, entry = self._params, self._file.entry(index)
        tokens = max(round(entry.prompt_tokens * params.scale), 1)
        # A failed request stands in some traces with no answer; the API gives one token at least.
        output = max(round(entry.output_tokens * params.scale), 1)
        return Prompt(
            prompt_id=f"{self._name}-{index}",
            token_ids=self._tokens(entry, index, min(tokens, params.max_prompt_tokens)),
            max_tokens=min(output, params.max_output_tokens),
        )

    def _tokens(self, entry: Entry, index: int, count: int) -> tuple[int, ...]:
        known: list[int] = []
        for block in self._blocks(entry, count):
            known += block
        missing = count - len(known)
        own = number_tokens(index) + self._draw.tokens(max(missing - NUMBER_TOKENS, 0), "prompt", index)
        return (*known[:count], *own[: max(missing, 0)])

    def _blocks(self, entry: Entry, count: int) -> Iterator[tuple[int, ...]]:
        """The named blocks that a prompt of so many tokens begins with; the last may be cut."""
        needed = -(-count // self._block_tokens)
        for name in entry.blocks[:needed]:
            yield self._draw.tokens(self._block_tokens, "block", name)


def _scaled_block(tokens: int, scale: float) -> int:
    scaled = tokens * scale
    if scaled != round(scaled) or scaled < 1:
        raise ValueError(f"scale: a block of {tokens} tokens becomes one of {scaled:g}")
    return round(scaled)


WORKLOADS = (WorkloadKind("trace", TraceParams, Trace),)
