"""Each package that the code imports is declared, and each declared one is imported."""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.wheel import PACKAGES, ROOT

DEVELOPMENT = ("benchmarks", "tests", "dashboards")
OF_THE_SERVER = {"torch", "vllm"}
"""They are imported in the server's process, from its own environment."""
IN_THE_SERVER = (
    "benchmarks/idle_cost/stepped_engine.py",
    "chaos/hostcopy/",
    "chaos/inside/",
    "tests/server/",
    "tests/compose/",
)
NOT_IMPORTED = {"check-jsonschema", "mypy", "py-spy", "pytest-timeout", "pytest-xdist", "ruff", "zizmor"}
"""Development tools: commands and plug-ins. Stubs (types-*, *-stubs) are not imported either."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: Sequence[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def runtime() -> set[str]:
    """Distributions that the wheel asks for."""
    return names(project()["project"]["dependencies"])


def development() -> set[str]:
    return names(project()["dependency-groups"]["dev"])


def imported_in(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def imports(folders: Sequence[str], *, root: Path = ROOT) -> set[tuple[str, str]]:
    """What is imported of others: pairs of a top-level name and the file that imports it."""
    known = {*PACKAGES, *DEVELOPMENT, *sys.stdlib_module_names}
    return {
        (name, path.relative_to(root).as_posix())
        for folder in folders
        for path in (root / folder).rglob("*.py")
        for name in imported_in(path)
        if name not in known
    }


@functools.cache
def providers() -> Mapping[str, Sequence[str]]:
    """The distributions that provide each import name here. Reading them all takes a moment."""
    return packages_distributions()


def distributions(imported: str) -> set[str]:
    """Distributions that provide an import name, as installed here."""
    return {canonicalize_name(name) for name in providers().get(imported, ())}


def undeclared(found: set[tuple[str, str]], declared: set[str]) -> set[tuple[str, str]]:
    return {
        (name, path)
        for name, path in found
        if not (name in OF_THE_SERVER and path.startswith(IN_THE_SERVER))
        and not distributions(name) & declared
    }


def test_the_wheel_declares_each_package_that_it_imports() -> None:
    packages = [package for package in PACKAGES if package != "dashboards"]
    assert undeclared(imports(packages), runtime()) == set()


def test_the_wheel_declares_no_package_that_it_does_not_import() -> None:
    found = {name for imported, _ in imports(PACKAGES) for name in distributions(imported)}
    assert runtime() - found == set()


def test_development_declares_each_package_that_it_imports() -> None:
    assert undeclared(imports(DEVELOPMENT), runtime() | development()) == set()


def test_development_declares_no_package_that_it_does_not_use() -> None:
    found = {name for imported, _ in imports(DEVELOPMENT) for name in distributions(imported)}
    stubs = {name for name in development() if name.startswith("types-") or name.endswith("-stubs")}
    assert development() - found - stubs == NOT_IMPORTED


def test_the_wheel_imports_nothing_that_stays_out_of_it() -> None:
    left_out = {
        (path.relative_to(ROOT).as_posix(), name)
        for package in PACKAGES
        if package != "dashboards"
        for path in (ROOT / package).rglob("*.py")
        for name in imported_in(path)
        if name in DEVELOPMENT
    }
    assert left_out == set()


def test_an_import_within_a_function_counts(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "late.py").write_text(
        "def late():\n    from attr.setters import frozen\n    import yaml.nodes\n"
    )
    found = imports(["part"], root=tmp_path)
    assert found == {("attr", "part/late.py"), ("yaml", "part/late.py")}
    assert undeclared(found, {"pyyaml"}) == {("attr", "part/late.py")}


def test_an_import_of_torch_outside_the_servers_code_is_undeclared() -> None:
    found = {("torch", "kvchaos/servers/tiny_model.py"), ("torch", "chaos/inside/faults/block_content.py")}
    assert undeclared(found, runtime()) == {("torch", "kvchaos/servers/tiny_model.py")}
