"""BurstGPT: CSV with the columns Timestamp (s), Request tokens and Response tokens, and others.

A request that failed stands there with an answer of 0 tokens.
"""

from __future__ import annotations

import math

from loadtests.traces.entry import (
    NS_PER_S,
    Entry,
    Format,
    MalformedLine,
    Parse,
    checked,
    columns,
    nanoseconds,
    pick,
    whole,
)

NAMES = ("Timestamp", "Request tokens", "Response tokens")


def _parser(header: str) -> Parse:
    indices = columns(header, NAMES)

    def parse(line: str) -> Entry:
        time, prompt, output = pick(line, indices)
        return checked(
            Entry(
                at_ns=nanoseconds(_seconds(time), NS_PER_S),
                prompt_tokens=whole(prompt, NAMES[1]),
                output_tokens=whole(output, NAMES[2]),
            )
        )

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise MalformedLine(f"{NAMES[0]} {text!r} is no number") from None
    if not math.isfinite(seconds):
        raise MalformedLine(f"{NAMES[0]} {text!r} is no time")
    return seconds


FORMAT = Format(parser=_parser, has_header=True)
