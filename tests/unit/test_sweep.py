"""The sweep over all releases must not call a release green that is not, nor hide why."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from history.plan import RunPlan
from tests.server.sweep import row as row_module
from tests.server.sweep.page import into_page, read_rows, write_row
from tests.server.sweep.row import KnownBug, Row, Trouble, fault_troubles
from tests.unit.histories import Run, clean_run
from tests.unit.synthetic import fault, make_plan

PAGE = "# Releases\n\n<!-- releases -->\nold\n<!-- end -->\nThe rest.\n"
WRONG = Trouble(part="baseline-offload", oracle="accounting", text="fail: 3 | 4")
UNJUDGED = Trouble(part="baseline-offload", oracle="accounting", unknown=True, text="unknown: no metric")
BUSY = Trouble(part="baseline-offload", oracle="client", unknown=True, text="unknown: the machine was busy")
BUG = KnownBug(
    SpecifierSet(">=0.19,<0.20"), "baseline-offload", frozenset({"accounting"}), "vllm#1", "it counts twice"
)


def row(release: str = "0.19.1", *troubles: Trouble) -> Row:
    return Row(release=release, day="2026-11-24", seconds=90, fired={"miss": 5}, troubles=list(troubles))


def told(history: Run) -> list[str]:
    return [trouble.kind for trouble in fault_troubles(history.history())]


def plan() -> RunPlan:
    return make_plan(faults=(fault("bit_flip"),))


def flipped(phase: str) -> Run:
    """A run in which a bit flips, and one answer of a phase differs."""
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=1)
    run.change_request(run.first_of(phase), token_ids=[11, 12, 99, 14])
    return run


def test_a_fault_that_never_fired_is_told() -> None:
    assert told(clean_run(plan())) == ["never-fired"]


def test_a_fault_that_changed_nothing_never_fired() -> None:
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=0)
    assert told(run) == ["never-fired"]


def test_a_fault_without_a_consequence_is_told() -> None:
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=1)
    assert told(run) == ["no-damage-shown"]


def test_damage_in_the_phase_of_the_flips_is_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "DAMAGED", "chaos")
    assert told(flipped("chaos")) == []


def test_damage_in_any_other_phase_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "DAMAGED", "chaos")
    assert told(flipped("healed")) == ["damage-elsewhere"]


def test_a_release_without_trouble_is_green() -> None:
    assert row().colour == "green"


@pytest.mark.parametrize(
    ("release", "troubles", "colour"),
    [
        ("0.19.1", [WRONG], "known"),
        ("0.20.0", [WRONG], "red"),
        ("0.19.1", [WRONG, Trouble(part="baseline-offload", oracle="answers", text="fail")], "red"),
        ("0.19.1", [Trouble(part="three-faults", oracle="accounting", text="fail")], "red"),
        ("0.19.1", [Trouble(part="install", text="exit code 3")], "red"),
        ("0.19.1", [WRONG, BUSY], "unknown"),
        ("0.20.0", [WRONG, BUSY], "red"),
        ("0.19.1", [UNJUDGED], "unknown"),
    ],
)
def test_only_a_listed_bug_excuses_and_only_what_it_explains(
    monkeypatch: pytest.MonkeyPatch, release: str, troubles: list[Trouble], colour: str
) -> None:
    monkeypatch.setattr(row_module, "KNOWN", (BUG,))
    assert row(release, *troubles).colour == colour


def test_the_table_names_every_release_and_every_trouble(tmp_path: Path) -> None:
    for each in (row("0.19.1", WRONG), row("0.9.0"), row("0.32.0")):
        write_row(each, tmp_path)
    page = into_page(PAGE, read_rows(tmp_path))
    assert page.startswith("# Releases\n\n<!-- releases -->\n2 green, 1 red; 2026-11-24.\n")
    assert page.endswith("<!-- end -->\nThe rest.\n")
    assert [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| 0.")] == [
        "| 0.9.0",
        "| 0.19.1",
        "| 0.32.0",
    ]
    assert "- 0.19.1, baseline-offload: accounting: fail: 3 \\| 4\n" in page


def test_a_newer_look_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    write_row(row("0.19.1", WRONG), tmp_path)
    write_row(row("0.19.1"), tmp_path)
    assert [each.colour for each in read_rows(tmp_path)] == ["green"]


def test_a_listed_bug_is_told_once_with_all_its_releases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_module, "KNOWN", (BUG,))
    page = into_page(PAGE, [row("0.19.0", WRONG), row("0.19.1", WRONG, BUSY)])
    told = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(told) == 2
    assert all(part in told[0] for part in ("vllm#1", "accounting", "baseline-offload", "0.19.0, 0.19.1"))
    assert all(part in told[1] for part in ("0.19.1", "baseline-offload", "client"))
