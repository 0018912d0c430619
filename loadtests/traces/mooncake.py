"""Mooncake's open traces: JSON Lines with timestamp (ms), input_length, output_length and hash_ids.

A hash id stands for a block of 512 tokens together with all before it.
"""

from __future__ import annotations

import msgspec

from loadtests.traces.entry import Entry, Format, nanoseconds
from loadtests.traces.json_lines import json_lines

NS_PER_MS = 1_000_000


class MooncakeLine(msgspec.Struct):
    """Fields that are not listed are of no use here."""

    timestamp: int | float
    input_length: int
    output_length: int
    hash_ids: list[int]


def _entry(line: MooncakeLine) -> Entry:
    return Entry(
        at_ns=nanoseconds(line.timestamp, NS_PER_MS),
        prompt_tokens=line.input_length,
        output_tokens=line.output_length,
        blocks=tuple(line.hash_ids),
    )


FORMAT = Format(parser=json_lines(MooncakeLine, _entry), has_header=False, block_tokens=512)
