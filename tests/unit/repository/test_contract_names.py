"""The contracts of faults have the names of the glossary, in the catalogue, its tables and all pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos.fault_catalogue import KINDS
from tests.support.source_tree import ROOT, sources

GLOSSARY = "docs/glossary.md"
TABLES = ("docs/faults.md", "docs/outside-faults.md")
MEANING = "whether vLLM's plug-in contract allows the fault"
"""Of the row of the glossary that names the contracts."""
EARLIER = re.compile(r"(?<![\w-])(legal|hostile)(?![\w-])", re.IGNORECASE)
"""Names of contracts in earlier versions. A hyphen makes the name of a scenario of it."""
TEXTS = ("docs/*.md", "*.md", "known_bugs/*.yaml", "scenarios/*.yaml")
HISTORICAL = frozenset({"CHANGELOG.md"})
"""Pages that list earlier names."""


def rows(page: str) -> list[list[str]]:
    """The cells of each line of a page that belongs to a table."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def contracts() -> set[str]:
    """The names that the glossary gives."""
    page = (ROOT / GLOSSARY).read_text(encoding="utf-8")
    (names,) = [row[0] for row in rows(page) if row[1:] == [MEANING]]
    return set(names.split(", "))


def contracts_in(page: str) -> set[str]:
    """The cells below the heading `contract` of the tables of a page."""
    found: set[str] = set()
    column: int | None = None
    for row in rows(page):
        if row[0] == "fault":
            column = row.index("contract") if "contract" in row else None
        elif column is not None and set("".join(row)) - {"-"}:
            found.add(row[column])
    return found


def with_earlier_name(given: dict[str, str]) -> dict[str, list[str]]:
    """By path the lines with an earlier name."""
    found = {path: list(filter(EARLIER.search, text.splitlines())) for path, text in given.items()}
    return {path: lines for path, lines in found.items() if lines}


def texts() -> dict[str, str]:
    """The pages and data that people read."""
    paths = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))]
    named = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: Path(path).read_text(encoding="utf-8") for name, path in named.items()}


def test_every_fault_has_a_contract_of_the_glossary() -> None:
    assert {kind.contract for kind in KINDS.values()} == contracts()


@pytest.mark.parametrize("page", TABLES)
def test_tables_of_faults_have_the_contracts_of_the_glossary(page: str) -> None:
    found = contracts_in((ROOT / page).read_text(encoding="utf-8"))
    assert found
    assert found <= contracts()


def test_earlier_contract_in_a_table_is_found() -> None:
    page = "| fault | contract |\n| --- | --- |\n| `a` | conforming |\n| `b` | hostile |\n"
    assert contracts_in(page) - contracts() == {"hostile"}


def test_no_page_or_source_uses_an_earlier_name_of_a_contract() -> None:
    given = {**sources(), **texts()}
    assert with_earlier_name({path: text for path, text in given.items() if path not in HISTORICAL}) == {}


@pytest.mark.parametrize(("line", "count"), [("A legal fault.", 1), ("Hostile ones", 1), ("legal-swarm", 0)])
def test_earlier_name_in_a_text_is_found(line: str, count: int) -> None:
    assert len(with_earlier_name({"docs/planted.md": line})) == count
