"""Names of the field: no vague word in the source or in tests, no name twice, imports in one direction."""

from __future__ import annotations

import pytest

from tests.support.source_tree import (
    PACKAGES,
    PAGE,
    Sources,
    between_packages,
    circles,
    class_names,
    definitions,
    file_names,
    identifiers,
    imports,
    parts,
    rooms,
    sources,
    with_folders,
)

VAGUE = frozenset({"told", "asked", "heard", "seen", "held", "word", "wish", "way", "place", "places"})
ALLOWED = frozenset(
    {
        "place",  # fields of the records of live runs
        "seen_ticks",
        "word_bytes",  # parameter of a fault: bytes of a machine word
    }
)
"""Names that stored files have."""
VAGUE_IN_TESTS = VAGUE | {
    *("tell", "tells", "foretold", "ask", "asks", "hear", "hears", "see", "sees", "saw", "hold", "holds"),
    *("say", "says", "said", "speaks", "words", "ways", "books", "owe", "owes", "mend", "mends", "minds"),
    *("nobody", "nobodys", "somebody", "somebodys", "everybody", "anybody", "stranger", "strangers"),
    *("look", "looks", "looked", "felt", "feels"),
}
"""Words that name no failure in the field's terms: a failed test is known by its name alone."""
IMPORTS = {
    "history": set[str](),
    "dashboards": set[str](),
    "loadtests": {"history"},
    "chaos": {"history"},
    "oracles": {"history", "chaos"},
    "kvchaos": {"history", "loadtests", "chaos", "oracles"},
    "benchmarks": {"history", "loadtests", "chaos", "kvchaos"},
}
"""Which package may import which others."""
SAME_CLASS = frozenset({"ChaosManager", "WrappedSpec", "HostCopySpec", "Trigger"})
"""One class for each shape of vLLM's plug-in API; the trigger of a scenario, and as the plug-in reads it."""
SAME_FILE = frozenset({"__init__.py", "__main__.py", "handlers.py", "worker.py", "spec.py"})
"""Modules that mirror the shapes of vLLM's plug-in API have its names in each package."""


def vague_names(given: Sources) -> dict[str, set[str]]:
    """By path the names that say nothing."""
    found = {
        path: {name for name in identifiers(text) if parts(name) & VAGUE} for path, text in given.items()
    }
    return {path: names - ALLOWED for path, names in found.items() if names - ALLOWED}


def vague_definitions(given: Sources) -> dict[str, set[str]]:
    """By path the functions and classes of tests whose names say nothing."""
    found = {
        path: {name for name in definitions(text) if parts(name) & VAGUE_IN_TESTS}
        for path, text in given.items()
    }
    return {path: names for path, names in found.items() if names}


def twice(names: dict[str, list[str]], allowed: frozenset[str]) -> dict[str, list[str]]:
    return {name: paths for name, paths in names.items() if len(paths) > 1 and name not in allowed}


def forbidden(given: Sources) -> dict[str, set[str]]:
    """By package the others that it imports and must not."""
    found = between_packages(imports(given))
    return {
        package: others - IMPORTS[package] for package, others in found.items() if others - IMPORTS[package]
    }


@pytest.fixture(scope="module")
def source() -> dict[str, str]:
    return sources()


def test_no_source_name_is_vague(source: Sources) -> None:
    assert vague_names(source) == {}


@pytest.mark.parametrize("line", ["told = answer()", "class Held: ...", "def _way_of(x: int) -> int: ..."])
def test_vague_source_name_is_found(line: str) -> None:
    assert list(vague_names({"history/planted.py": line})) == ["history/planted.py"]


def test_no_test_or_test_helper_has_a_vague_name() -> None:
    assert vague_definitions(sources(["tests"])) == {}


@pytest.mark.parametrize(
    "text",
    [
        "def test_prometheus_is_told_otherwise() -> None: ...",
        "class TestRun:\n    async def test_nobody_waits(self) -> None: ...",
        "def outer() -> None:\n    def holds() -> bool: ...",
        "class SomebodysServer: ...",
    ],
)
def test_vague_name_in_tests_is_found(text: str) -> None:
    assert list(vague_definitions({"tests/test_planted.py": text})) == ["tests/test_planted.py"]


def test_a_name_of_the_field_in_tests_is_allowed() -> None:
    text = "def test_only_prometheus_receives_the_altered_exposition() -> None: ..."
    assert vague_definitions({"tests/test_planted.py": text}) == {}


def test_class_names_are_unique(source: Sources) -> None:
    assert twice(class_names(source), SAME_CLASS) == {}


def test_file_names_are_unique(source: Sources) -> None:
    assert twice(file_names(source), SAME_FILE) == {}


def test_duplicate_name_is_found() -> None:
    planted = {"history/a.py": "class Planted: ...", "oracles/a.py": "class Planted: ..."}
    assert list(twice(class_names(planted), SAME_CLASS)) == ["Planted"]
    assert list(twice(file_names(planted), SAME_FILE)) == ["a.py"]


def test_packages_import_in_one_direction(source: Sources) -> None:
    assert forbidden(source) == {}


def test_import_against_the_direction_is_found() -> None:
    planted = {"history/a.py": "def f() -> None:\n    from oracles.b import c\n", "oracles/b.py": "c = 1"}
    assert forbidden(planted) == {"history": {"oracles"}}


def test_no_import_cycles(source: Sources) -> None:
    assert circles(imports(source)) == []


def test_import_cycle_is_found() -> None:
    planted = {"history/a.py": "import history.b", "history/b.py": "from history import a"}
    assert circles(imports(planted)) == [["history.a", "history.b"]]


def test_every_package_has_a_docstring(source: Sources) -> None:
    assert [folder for folder, line in rooms(source).items() if not line.endswith(".")] == []


def test_architecture_page_lists_every_folder(source: Sources) -> None:
    assert with_folders(PAGE.read_text(), source) == PAGE.read_text()


def test_all_packages_are_checked(source: Sources) -> None:
    assert {path.partition("/")[0] for path in source} == set(PACKAGES)
