"""Finds assertions that compare something with a sentence, in the source of a test file.

A sentence has three words or more in one line; of what an oracle says for people (`summary`, `text`,
`reasons`) and of the message of an error two are too many. What a test itself has given to what it tests is
data, and so is a command to type.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import singledispatchmethod
from pathlib import Path
from typing import NamedTuple, get_args

from history.verdict import Outcome
from kvchaos.judging.outcome import ExpectationMatch

FOR_PEOPLE = frozenset({"summary", "text", "reasons"})
"""Attributes of results that hold sentences."""
VALUES = frozenset(get_args(Outcome)) | frozenset(map(str, ExpectationMatch))
"""Of types, though they have spaces in them."""
SEARCHES = frozenset({"startswith", "endswith", "count", "find", "index", "search", "match", "fullmatch"})
LEAST_WORDS, FEW_WORDS = 3, 2
WORD = re.compile(r"[A-Za-z][A-Za-z']+[,.;:!?)]*")
"""What has a digit, a slash, a dash or an underscore in it is a name, a path, an option or a figure."""
COMMAND = re.compile(r"kvchaos [a-z]+( [a-z]+)?")
BREAK = re.compile(r"\\n|\n|\\s|\.\*|\\")
FILLED = "0"
"""Stands for what an f-string fills in."""
Known = dict[str, list[ast.expr]]
"""Names by what they may stand for."""


class Hit(NamedTuple):
    """An assertion on a sentence."""

    line: int
    text: str


def hits_in(path: Path) -> list[Hit]:
    """Compared sentences in a test file."""
    return hits(path.read_text(encoding="utf-8"))


def hits(source: str) -> list[Hit]:
    """By line; one for each sentence."""
    tree = ast.parse(source)
    found = {hit for scope in _scopes(tree) for hit in scope.hits()}
    lines = {hit.line for hit in found}
    given = [text for line, text in _texts(tree) if line not in lines]
    return sorted(hit for hit in found if not any(hit.text in text for text in given))


def is_sentence(text: str, words: int = LEAST_WORDS) -> bool:
    """Whether one of its lines has so many words."""
    if text.strip() in VALUES:
        return False
    lines = BREAK.split(COMMAND.sub("", text))
    return any(sum(map(_is_english, line.split())) >= words for line in lines)


def _is_english(token: str) -> bool:
    """Whether a token is a plain English word."""
    return WORD.fullmatch(token.strip("(\"'`[^$")) is not None


class _Helper(NamedTuple):
    """A function of the file, and which of its parameters it compares with something."""

    names: list[str]
    compared: frozenset[str]


class _Scope:
    """A function, or the module, with what its names stand for."""

    def __init__(self, node: ast.AST, known: Known, helpers: dict[str, _Helper]) -> None:
        self._node = node
        self._helpers = helpers
        self._known = known | _assigned(node) | _parametrised(node)
        self._given = frozenset(_given(node, helpers))

    def hits(self) -> Iterator[Hit]:
        for node in _walk(self._node):
            if isinstance(node, ast.Assert):
                yield from self._compared(node.test)
            elif isinstance(node, ast.Call):
                yield from self._passed(node)

    def _compared(self, test: ast.expr) -> Iterator[Hit]:
        for node in ast.walk(test):
            if isinstance(node, ast.Compare | ast.Call):
                words = FEW_WORDS if _is_for_people(node) else LEAST_WORDS
                for operand in _operands(node):
                    yield from self._sentences(operand, words)
            if isinstance(node, ast.Call):
                yield from self._passed(node)

    def _passed(self, call: ast.Call) -> Iterator[Hit]:
        """What `pytest.raises` is to match, and what a helper of this file is to compare."""
        helper = self._helpers.get(call.func.id) if isinstance(call.func, ast.Name) else None
        names, compared = helper or _Helper([], frozenset())
        passed = [*zip(names, call.args, strict=False), *((each.arg, each.value) for each in call.keywords)]
        for name, value in passed:
            if name in compared or (name == "match" and _name(call.func) in ("raises", "warns")):
                yield from self._sentences(value, FEW_WORDS if name == "match" else LEAST_WORDS)

    @singledispatchmethod
    def _sentences(self, node: ast.AST, words: int) -> Iterator[Hit]:
        """Those that stand in an operand, or that a name in it stands for."""
        yield from ()

    @_sentences.register
    def _(self, node: ast.Constant, words: int) -> Iterator[Hit]:
        if isinstance(node.value, str) and is_sentence(node.value, words):
            yield Hit(node.lineno, node.value)

    @_sentences.register
    def _(self, node: ast.JoinedStr, words: int) -> Iterator[Hit]:
        parts = [part.value if isinstance(part, ast.Constant) else FILLED for part in node.values]
        text = "".join(map(str, parts))
        if is_sentence(text, words):
            yield Hit(node.lineno, text)

    @_sentences.register
    def _(self, node: ast.Name, words: int) -> Iterator[Hit]:
        for value in self._known.get(node.id, []) if node.id not in self._given else ():
            if not isinstance(value, ast.Name):
                yield from self._sentences(value, words)

    @_sentences.register(ast.Tuple | ast.List | ast.Set | ast.Dict | ast.BinOp | ast.IfExp)
    def _(self, node: ast.AST, words: int) -> Iterator[Hit]:
        for part in ast.iter_child_nodes(node):
            yield from self._sentences(part, words)

    @_sentences.register
    def _(self, node: ast.Call, words: int) -> Iterator[Hit]:
        if _name(node.func)[:1].isupper():
            for part in (*node.args, *(keyword.value for keyword in node.keywords)):
                yield from self._sentences(part, words)


def _scopes(tree: ast.Module) -> Iterator[_Scope]:
    """The functions and the module level of a test file, each with its constants and helpers."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    helpers = {
        node.name: _Helper([argument.arg for argument in node.args.args], frozenset(_compared_names(node)))
        for node in functions
        if not node.name.startswith("test_")
    }
    given = {name for function in functions for name in _given(function, helpers)}
    known = {name: values for name, values in _assigned(tree).items() if name not in given}
    for node in (tree, *functions):
        yield _Scope(node, known, helpers)


def _operands(node: ast.AST) -> list[ast.expr]:
    """What a comparison or a search compares."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    return node.args if isinstance(node, ast.Call) and _name(node.func) in SEARCHES else []


def _compared_names(function: ast.FunctionDef) -> Iterator[str]:
    """The names that a function compares with something."""
    for node in ast.walk(function):
        operands = _operands(node)
        if isinstance(node, ast.keyword) and node.arg == "match":
            operands = [node.value]
        yield from (operand.id for operand in operands if isinstance(operand, ast.Name))


def _given(node: ast.AST, helpers: dict[str, _Helper]) -> Iterator[str]:
    """Names that are used in a function for more than to be compared: what they stand for is an input."""
    comparing = {*SEARCHES, "raises", "warns", *(name for name, helper in helpers.items() if helper.compared)}
    for each in _walk(node):
        if isinstance(each, ast.Call) and _name(each.func) not in comparing:
            for part in (*each.args, *(keyword.value for keyword in each.keywords)):
                yield from (name.id for name in ast.walk(part) if isinstance(name, ast.Name))


def _assigned(node: ast.AST) -> Known:
    """The values that a scope assigns to each name."""
    found: Known = defaultdict(list)
    for each in _walk(node):
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
        value = getattr(each, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                found[target.id].append(value)
    return found


def _parametrised(node: ast.AST) -> Known:
    """Parameters of a test by the values that they are given."""
    found: Known = defaultdict(list)
    for call in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
        if not (isinstance(call, ast.Call) and _name(call.func) == "parametrize" and len(call.args) > 1):
            continue
        names = [part.value for part in ast.walk(call.args[0]) if isinstance(part, ast.Constant)]
        for row in getattr(call.args[1], "elts", []):
            cells = row.elts if isinstance(row, ast.Tuple) and len(names) > 1 else [row]
            for name, cell in zip(names, cells, strict=False):
                found[str(name)].append(cell)
    return found


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a scope, but for the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _walk(child)


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """All text constants of a file by line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def _is_for_people(node: ast.AST) -> bool:
    """Whether an expression reads an attribute that is text for people."""
    return any(isinstance(each, ast.Attribute) and each.attr in FOR_PEOPLE for each in ast.walk(node))


def _name(node: ast.expr) -> str:
    """The last part of a name or an attribute, empty for other expressions."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
