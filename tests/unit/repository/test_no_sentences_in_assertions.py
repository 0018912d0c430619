"""Sentences are for people: only tests of what people read may fail when one is reworded.

Other tests assert on rules, subjects, figures, times, kinds of gaps, doubts and objections, and on names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.support.sentences import hits, hits_in

ROOT = Path(__file__).parents[3]
RENDERING = {
    "test_report": "the report, the summary and the drawings of a run",
    "test_terminal_": "what a terminal shows",
    "test_cli_": "the line that a command ends with",
    "test_messages_": "what is said of input or of a machine that cannot be used",
    "test_programs.py": "the last lines of a test run, on tests that did not run",
    "test_load_page.py": "the load page in a browser",
}
"""Tests whose subject is text, by the begin of the names of their files: these may match sentences."""
NOT_YET: dict[str, int] = {}
"""Other files by how many sentences they still match. None may have more, and the file goes with the last."""


@cache
def found() -> dict[str, list[str]]:
    """Lines of files that are not about text."""
    lines = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not path.name.startswith(tuple(RENDERING)):
            lines[name] = [f"{name}:{hit.line}: {hit.text!r}" for hit in hits_in(path)]
    return lines


def test_no_assertion_outside_tests_of_rendering_matches_a_sentence() -> None:
    too_many = [
        line for name, lines in found().items() if len(lines) > NOT_YET.get(name, 0) for line in lines
    ]
    assert not too_many, "\n".join(too_many)


def test_every_listed_exception_still_has_a_sentence() -> None:
    """The list only shrinks."""
    assert [name for name in NOT_YET if not found().get(name)] == []


def test_each_rendering_prefix_matches_a_test_file() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [begin for begin in RENDERING if not any(name.startswith(begin) for name in names)] == []


@pytest.mark.parametrize(
    "body",
    [
        "assert result.oddity == 'the server died at once'",
        "assert 'the server died' in told",
        "assert result.summary.startswith('server died')",
        "assert any('the server died' in line for line in lines)",
        "assert f'phase {name}: it never came' in told",
        "assert told == ('unknown', 'no request was sent')",
        "assert told == Trouble('dead', 'the server ended with code 1')",
        "assert re.search('the server died of .*', told)",
        "words = 'the server died'\n    assert words in told",
        "with pytest.raises(ValueError, match='no such run directory'):\n        run()",
        "with pytest.raises(ValueError, match='is gone'):\n        run()",
        "check(told, 'the server died')",
    ],
)
def test_sentence_in_any_comparison_is_found(body: str) -> None:
    source = f"def check(told, words):\n    assert words in told\n\n\ndef test_it(told):\n    {body}\n"
    assert len(hits(source)) == 1


def test_sentence_in_a_parameter_or_a_constant_is_found() -> None:
    parametrised = (
        "@pytest.mark.parametrize(('n', 'words'), [(1, 'the server died'), (2, 'died')])\n"
        "def test_it(n, words):\n    assert words in told(n)\n"
    )
    constant = "WORDS = 'the server died'\ndef test_it():\n    assert told() == WORDS\n"
    assert [len(hits(source)) for source in (parametrised, constant)] == [1, 1]


@pytest.mark.parametrize(
    "body",
    [
        "assert result.rule == 'server-alive/died'",
        "assert outcome == 'not as expected'",
        "assert figures == {'sent': 4, 'recorded': 3}",
        "assert 'vllm:prompt_tokens_total' in told",
        "assert '/tmp/run/events.jsonl:2: ' in told",
        "assert told, 'it must say something'",
        "assert parse('a line of three words') == 3",
        "assert mend == 'kvchaos server install 0.32.0'",
        "line = 'the prompt is too long'\n    assert answer(line).message == line",
        "send({'message': 'the prompt is too long'})\n    assert received() == 'the prompt is too long'",
        "assert log.read_text() == 'one\\ntwo\\nthree\\n'",
    ],
)
def test_names_values_figures_and_what_the_test_gave_itself_are_no_sentences(body: str) -> None:
    assert hits(f"def test_it():\n    {body}\n") == []
