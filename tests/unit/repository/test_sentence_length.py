"""Sentences of at most 30 words in pages and docstrings: a longer one needs a second reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.long_sentences import (
    MAX_WORDS,
    by_path,
    docstring_blocks,
    length_of,
    page_blocks,
    sentences,
)
from tests.support.source_tree import ROOT, sources

EXCEPTIONS: dict[str, str] = {}
"""Starts of sentences that stay longer, each with the reason."""
LONG = " ".join(["word"] * (MAX_WORDS + 1)) + "."
AT_THE_LIMIT = " ".join(["word"] * MAX_WORDS) + "."


def pages() -> dict[str, str]:
    paths: list[Path] = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(paths)}


def too_long(given: dict[str, str], modules: dict[str, str]) -> list[str]:
    return [
        f"{path}: {sentence.words} words: {sentence.text}"
        for path, found in by_path(given, modules).items()
        for sentence in found
        if not sentence.text.startswith(tuple(EXCEPTIONS))
    ]


def test_pages_and_docstrings_have_no_long_sentence() -> None:
    assert too_long(pages(), sources()) == []


def test_readme_and_generated_pages_are_checked() -> None:
    assert pages().keys() >= {
        "README.md",
        "CONTRIBUTING.md",
        "docs/releases.md",
        "docs/oracles.md",
        "docs/faults.md",
    }


@pytest.mark.parametrize(
    "page",
    [
        LONG,
        f"Short. {LONG}",
        f"# Title\n\n{LONG.replace(' ', chr(10), 3)}",
        f"- {LONG}",
        f"- short\n  {LONG}",
        f"| a | {LONG} |",
        f"[{LONG[:-1]}](page.md).",
    ],
)
def test_long_sentence_on_a_page_is_found(page: str) -> None:
    assert len(too_long({"docs/planted.md": page}, {})) == 1


@pytest.mark.parametrize(
    "page",
    [
        AT_THE_LIMIT,
        f"{AT_THE_LIMIT} {AT_THE_LIMIT}",
        f"    {LONG}",
        f"```\n{LONG}\n```",
        f"`{LONG}` is one word.",
        f"- {AT_THE_LIMIT}\n- {AT_THE_LIMIT}",
        f"| {AT_THE_LIMIT[:-1]}; {AT_THE_LIMIT} |",
        f"<!-- {LONG} -->",
    ],
)
def test_sentences_within_the_limit_and_code_are_allowed(page: str) -> None:
    assert too_long({"docs/planted.md": page}, {}) == []


@pytest.mark.parametrize(
    "source",
    [
        f'"""{LONG}"""',
        f'class A:\n    """{LONG}"""',
        f'def a() -> None:\n    """Short.\n\n    {LONG}\n    """',
        f'A = 1\n"""{LONG}"""',
    ],
)
def test_long_sentence_in_a_docstring_is_found(source: str) -> None:
    assert len(too_long({}, {"history/planted.py": source})) == 1


def test_code_block_in_a_docstring_does_not_count() -> None:
    assert too_long({}, {"history/planted.py": f'"""Short.\n\n    {LONG}\n\nShort.\n"""'}) == []


def test_length_counts_code_as_one_and_no_dashes() -> None:
    (sentence,) = sentences(
        "The option `--as-release 0.28.0` - see [servers](servers.md#a) - names 0.1.0, 0.2.0."
    )
    assert length_of(sentence) == 7


def test_every_exception_is_still_needed() -> None:
    texts = [text for page in pages().values() for block in page_blocks(page) for text in sentences(block)]
    texts += [
        text for each in sources().values() for block in docstring_blocks(each) for text in sentences(block)
    ]
    assert [start for start in EXCEPTIONS if not any(text.startswith(start) for text in texts)] == []
