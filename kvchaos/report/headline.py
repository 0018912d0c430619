"""The lines on top of a page of nights: what a reader must know first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kvchaos.report.text_tables import cell_text

MAX_LINES = 10
LISTED = 3
"""Items of a line that are named; the others are counted."""
Tone = Literal["bad", "good", "unknown", "note"]
ORDER: tuple[Tone, ...] = ("bad", "unknown", "good", "note")
"""The most important first."""
SYMBOLS = {"bad": "❌", "good": "✅", "unknown": "❔", "note": "▫️"}


@dataclass(frozen=True, slots=True)
class Headline:
    """One line."""

    tone: Tone
    label: str
    text: str


def listed(items: Sequence[str]) -> str:
    """The first few items, and the number of the others."""
    more = len(items) - LISTED
    return f"{'; '.join(items[:LISTED])}{f'; and {more} more' if more > 0 else ''}"


def joined(first: Sequence[Headline], second: Sequence[Headline]) -> list[Headline]:
    """The lines of two reports: the first line of each, then all others by tone. At most MAX_LINES.

    Within a tone the lines of `second` come first.
    """
    others = sorted([*second[1:], *first[1:]], key=lambda line: ORDER.index(line.tone))
    return [*first[:1], *second[:1], *others][:MAX_LINES]


def headlines_markdown(lines: Iterable[Headline]) -> list[str]:
    """One item of a list for each line."""
    return [f"- {SYMBOLS[line.tone]} **{line.label}:** {cell_text(line.text)}\n" for line in lines]
