"""This software's own: JSON Lines with at_s, prompt_tokens, output_tokens and, where known, blocks."""

from __future__ import annotations

import msgspec

from loadtests.traces.entry import NS_PER_S, Entry, Format, nanoseconds
from loadtests.traces.json_lines import json_lines


class OwnLine(msgspec.Struct, forbid_unknown_fields=True):
    """`blocks` names those that the prompt begins with; equal names are equal blocks."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: list[int | str] = msgspec.field(default_factory=list)


def _entry(line: OwnLine) -> Entry:
    return Entry(
        at_ns=nanoseconds(line.at_s, NS_PER_S),
        prompt_tokens=line.prompt_tokens,
        output_tokens=line.output_tokens,
        blocks=tuple(line.blocks),
    )


FORMAT = Format(parser=json_lines(OwnLine, _entry), has_header=False)
