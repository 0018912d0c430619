"""docs/troubleshooting.md quotes messages: one that no code prints sends its reader the wrong way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from tests.support.source_tree import ROOT, sources

PAGE = ROOT / "docs" / "troubleshooting.md"
FILLED = "\0"
"""What an f-string fills in, and `...` on the page."""
SHORTEST = 6
"""Fragments of fewer characters are in every text."""


def quoted(page: str) -> list[str]:
    """The messages in the first column of the page's tables."""
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def texts(given: Mapping[str, str]) -> Iterator[str]:
    """Every string of the modules, with a mark for each value that is filled in."""
    for source in given.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else FILLED for part in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def missing(page: str, given: Mapping[str, str]) -> list[str]:
    """The messages of which a part is in no string of the modules."""
    known = "\n".join(texts(given))
    fragments = {message: re.split(r"\.\.\.|\b[A-Z]{1,2}\b", message) for message in quoted(page)}
    return [
        message
        for message, parts in fragments.items()
        if any(len(part.strip()) >= SHORTEST and part.strip() not in known for part in parts)
    ]


def test_every_quoted_message_is_printed_somewhere() -> None:
    assert missing(PAGE.read_text(encoding="utf-8"), sources()) == []


def test_message_that_nothing_prints_is_found() -> None:
    page = "| message | solution |\n|---|---|\n| `no server called ...` | x |\n"
    assert missing(
        page, {"kvchaos/a.py": 'def f(name: str) -> str:\n    return f"no server named {name}"\n'}
    ) == ["no server called ..."]
