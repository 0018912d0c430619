"""The source of the packages as data, for tests of names, imports and structure.

Run as a module it updates the folders in docs/architecture.md.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "chaos", "dashboards", "history", "kvchaos", "loadtests", "oracles")
Sources = Mapping[str, str]
"""Text of each module by its path from ROOT."""
Graph = Mapping[str, Collection[str]]
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def sources(packages: Collection[str] = PACKAGES) -> dict[str, str]:
    """Of all modules of some packages."""
    paths = chain.from_iterable((ROOT / package).rglob("*.py") for package in packages)
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths)}


def module_name(path: str) -> str:
    """The dotted name of a module by its path."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(given: Sources) -> dict[str, set[str]]:
    """For each module those of the given ones that it imports at any level of its code."""
    names = {module_name(path) for path in given}
    return {module_name(path): set(_imported(ast.parse(text), names)) for path, text in given.items()}


def _imported(tree: ast.AST, names: Collection[str]) -> Iterator[str]:
    """The given modules that a syntax tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in names else node.module
                if found in names:
                    yield found


def between_packages(modules: Graph) -> dict[str, set[str]]:
    """Which top-level package imports which others."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, imported in modules.items():
        package = module.partition(".")[0]
        found[package] |= {other.partition(".")[0] for other in imported} - {package}
    return dict(found)


def circles(graph: Graph) -> list[list[str]]:
    """Modules that import each other, directly or through others, each circle once."""
    found: set[frozenset[str]] = set()
    reach = {node: _reached(graph, node) for node in graph}
    for node in graph:
        circle = frozenset(other for other in reach[node] if node in reach.get(other, ()))
        if circle:
            found.add(circle)
    return sorted(sorted(circle) for circle in found)


def _reached(graph: Graph, start: str) -> set[str]:
    """All nodes that can be reached from a node of the graph."""
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += graph.get(node, ())
    return found


def class_names(given: Sources) -> dict[str, list[str]]:
    """The paths in which each class name is defined at the top level of a module."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, text in given.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path)
    return dict(found)


def file_names(given: Sources) -> dict[str, list[str]]:
    """The paths that have each file name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in given:
        found[path.rpartition("/")[2]].append(path)
    return dict(found)


def identifiers(text: str) -> set[str]:
    """Every name in a module's code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def definitions(text: str) -> set[str]:
    """The names of all functions, methods and classes of a module, at any level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)}


def parts(identifier: str) -> set[str]:
    """The words of an identifier, in lower case."""
    return {part.lower() for part in _PART.findall(identifier)}


def rooms(given: Sources) -> dict[str, str]:
    """The first sentence of each package's docstring, by its folder."""
    return {
        path.rpartition("/")[0]: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        for path, text in given.items()
        if path.endswith("/__init__.py")
    }


PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- folders -->", "<!-- end of folders -->"
DATA = {
    "compose": "The images, and the files for Docker Compose.",
    "docs": "The documentation.",
    "examples": "A stored run, for `make demo`.",
    "known_bugs": "Known bugs of vLLM as data, one file each.",
    "matrix": "Results of every scenario on every release as data, one file a release, and a heat map.",
    "scenarios": "The experiments as data, one file each.",
    "tests": (
        "Tests: `unit` by package, `integration`, `server` with real vLLM, `compose` with real containers."
    ),
}
"""Folders at the top level without a package, and what is in each."""


def folder_table(given: Sources) -> str:
    """Folders with one line each, as a list in Markdown."""
    lines = {**rooms(given), **DATA}
    return "".join(
        f"{'  ' * folder.count('/')}- `{folder.rpartition('/')[2]}/`: {line}\n"
        for folder, line in sorted(lines.items())
    )


def with_folders(page: str, given: Sources) -> str:
    """The page with the list of folders between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{folder_table(given)}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_folders(PAGE.read_text(), sources()))
