"""Docstrings of public names: the lint finds a missing one, and none only repeats its name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.support.source_tree import ROOT, parts, sources

MODULE = '"""A module."""\n\n'
FILLER = frozenset({"a", "an", "the", "of", "its", "this", "is", "to", "for", "in", "and", "with", "s"})


def lint(text: str, path: str = "history/planted.py") -> list[str]:
    """The codes of the rules that a file at this path breaks, by the project's own configuration."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    done = subprocess.run(
        [*command, "--stdin-filename", path, "-"], cwd=ROOT, input=text, capture_output=True, text=True
    )
    return re.findall(r": (D\d{3}) ", done.stdout)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("A = 1\n", "D100"),
        (f"{MODULE}class Planted:\n    size = 1\n", "D101"),
        (
            f'{MODULE}class Planted:\n    """A class."""\n\n    def size(self) -> int:\n        return 1\n',
            "D102",
        ),
        (f"{MODULE}def planted() -> int:\n    return 1\n", "D103"),
        (f'{MODULE}def planted() -> int:\n    """One\n    cut in two."""\n    return 1\n', "D205"),
        (f'{MODULE}def planted() -> int:\n    """No full stop"""\n    return 1\n', "D415"),
    ],
)
def test_lint_finds_a_gap(text: str, code: str) -> None:
    assert code in lint(text)


@pytest.mark.parametrize("folder", ["benchmarks", "chaos", "dashboards", "kvchaos", "loadtests", "oracles"])
def test_lint_covers_every_package(folder: str) -> None:
    assert lint(f"{MODULE}def planted() -> int:\n    return 1\n", f"{folder}/planted.py") == ["D103"]


def test_private_names_need_no_docstring() -> None:
    assert lint(f"{MODULE}def _planted() -> int:\n    return 1\n") == []


def repetitions(given: Mapping[str, str]) -> list[str]:
    """Names with a docstring that has no term but those of the name."""
    return [f"{path}: {name}" for path, text in given.items() for name in _repeated(ast.parse(text))]


def _repeated(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            terms = set(re.findall(r"[a-z]+", (ast.get_docstring(node) or "").lower())) - FILLER
            if terms and terms <= {form for part in parts(node.name) for form in (part, f"{part}s")}:
                yield node.name


def test_no_docstring_only_repeats_its_name() -> None:
    assert repetitions(sources()) == []


def test_docstring_that_repeats_its_name_is_found() -> None:
    planted = {"history/planted.py": 'def read_file() -> None:\n    """Reads the file."""\n'}
    assert repetitions(planted) == ["history/planted.py: read_file"]


def cut_in_two(given: Mapping[str, str]) -> list[str]:
    """Docstrings of constants and fields that end with a comma: the next one goes on with the sentence."""
    return [
        f"{path}:{node.lineno}"
        for path, text in given.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str) and node.value.value.rstrip().endswith((",", ";", ":"))
    ]


def test_no_sentence_is_cut_over_two_docstrings() -> None:
    assert cut_in_two(sources()) == []


def test_sentence_over_two_docstrings_is_found() -> None:
    planted = {"history/planted.py": 'A = 1\n"""The first,"""\nB = 2\n"""and the second."""\n'}
    assert cut_in_two(planted) == ["history/planted.py:2"]
