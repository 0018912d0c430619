"""Sentences of pages and docstrings by their number of words.

Code blocks do not count. Code within a line, a path and a list of releases are one word each. These end a
sentence: a full stop, an exclamation mark, a question mark, a heading, an item of a list, a cell of a table,
and a semicolon in a cell.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

MAX_WORDS = 30
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"(`+)(?:(?!\1).)+?\1", re.DOTALL)
_PICTURE = re.compile(r"!\[(?:[^\]\[]|\[[^\]]*\])*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]\[]*)\]\([^)]*\)")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
_END = re.compile(r"(?<=[.!?])[)\"'*_]*\s+|<br>")
_RELEASES = re.compile(r"\b\d+\.\d+\.\d+(?:, \d+\.\d+\.\d+)+")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|cf|etc)\.")


class LongSentence(NamedTuple):
    """A sentence with more words than allowed."""

    words: int
    text: str


def long_sentences(blocks: Iterator[str]) -> list[LongSentence]:
    """The sentences of some blocks of text that have more than `MAX_WORDS` words, in their order."""
    found = (LongSentence(length_of(text), text) for block in blocks for text in sentences(block))
    return [sentence for sentence in found if sentence.words > MAX_WORDS]


def sentences(block: str) -> list[str]:
    """The sentences of a block of text without line breaks, code within the line kept as one word."""
    text = _CODE.sub("`code`", _PICTURE.sub("", block))
    text = _RELEASES.sub("releases", _ABBREVIATION.sub(r"\1", _LINK.sub(r"\1", " ".join(text.split()))))
    return [part.strip() for part in _END.split(text) if part and part.strip()]


def length_of(sentence: str) -> int:
    """The number of words: what stands between spaces and has a letter or a digit in it."""
    return sum(any(character.isalnum() for character in token) for token in sentence.split())


def page_blocks(page: str) -> Iterator[str]:
    """The paragraphs, list items, headings and cells of a page in Markdown, without its code blocks."""
    text = _COMMENT.sub("", _FENCE.sub("", page))
    block: list[str] = []
    within_list = False
    for line in [*text.splitlines(), ""]:
        starts = _LIST_ITEM.match(line)
        ends = not line.strip() or line.lstrip().startswith(("#", "|", ">")) or starts
        if ends:
            yield " ".join(block)
            block = []
        if starts:
            within_list = True
        elif line and not line[0].isspace():
            within_list = False
        if line.lstrip().startswith("|"):
            yield from re.split(r"[|;]", line)
        elif line.startswith("#"):
            yield line.lstrip("#")
        elif not line.startswith("    ") or within_list:
            block.append(_LIST_ITEM.sub("", line))


def docstring_blocks(source: str) -> Iterator[str]:
    """The paragraphs of every docstring of a module, those of constants and fields included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield from page_blocks(_dedented(text))


def _dedented(text: str) -> str:
    """A docstring as the interpreter shows it."""
    first, *rest = text.expandtabs().splitlines() or [""]
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[margin:] for line in rest)])


def by_path(pages: Mapping[str, str], modules: Mapping[str, str]) -> dict[str, list[LongSentence]]:
    """The long sentences of pages and modules, for each path that has some."""
    found = {path: long_sentences(page_blocks(text)) for path, text in pages.items()}
    found |= {path: long_sentences(docstring_blocks(text)) for path, text in modules.items()}
    return {path: sentences for path, sentences in found.items() if sentences}
