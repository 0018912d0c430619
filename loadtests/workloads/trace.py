"""Recorded traffic: lengths, times and shared blocks of a trace, with prompts made up to fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from history.strict_yaml import Strict
from loadtests.traces.trace_file import TraceFile, TraceSection
from loadtests.traces.trace_formats import FORMATS, LONGEST_NS, Entry
from loadtests.workloads.workload import NUMBER_TOKENS, Draw, OneShot, Prompt, number_tokens


class TraceParams(Strict):
    path: str
    """In a scenario file, from that file's folder."""
    format: str
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How many times faster than recorded."""
    from_s: float = Field(default=0.0, ge=0)
    """The part that is played, in the trace's own time, from its first line on."""
    to_s: float | None = Field(default=None, gt=0)
    entries: int | None = Field(default=None, ge=1)
    """The most entries of that part that are played."""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Lengths are multiplied by this, and with them the blocks."""
    block_tokens: int = Field(default=16, ge=1)
    """Tokens of a block, where the format does not set it; before scaling."""
    max_prompt_tokens: int = Field(default=512, ge=NUMBER_TOKENS)
    """Longer ones are cut to this."""
    max_output_tokens: int = Field(default=128, ge=1)

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
        return len(self._file)

    @property
    def longest(self) -> int:
        return self._params.max_prompt_tokens + self._params.max_output_tokens

    def __len__(self) -> int:
        return len(self._file)

    def offset_ns(self, number: int) -> int:
        """When this entry is due, from the begin of the part that is played."""
        return round((self._file.entry(number).at_ns - self._file.begin_ns) / self._params.speed)

    def request(self, index: int) -> Prompt:
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
