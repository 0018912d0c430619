"""The table of faults is what scenarios, engine and documentation are checked against."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import fault_catalogue
from chaos.inside import inside_kinds
from chaos.inside.fault_kind import CONFORMING, CONTRACT_VIOLATING, SCHEDULER, WORKER, FaultKind
from chaos.inside.inside_kinds import KINDS, problems
from chaos.outside.injector import CONTAINERS, LOCAL, OutsideKind
from chaos.outside.outside_kinds import KINDS as OUTSIDE_KINDS
from history import scenario
from history.protocol.schedule import ArmedFault, Trigger, Value
from kvchaos.cli.faults_command import insert_tables

OUTSIDE_DOCS = Path(__file__).parents[3] / "docs" / "outside-faults.md"
DOCS = Path(__file__).parents[3] / "docs" / "faults.md"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_inside_kind_describes_its_effect_and_evidence(kind: FaultKind) -> None:
    assert kind.role in (SCHEDULER, WORKER)
    assert kind.contract in (CONFORMING, CONTRACT_VIOLATING)
    for text in (kind.site, kind.effect, kind.evidence, kind.consequence, kind.heals):
        assert text.strip()
    for name, parameter in kind.parameters.items():
        assert parameter.about.strip(), f"{kind.name}: {name} is not explained"


@pytest.mark.parametrize("kind", KINDS)
def test_default_parameters_of_every_fault_kind_are_valid(kind: str) -> None:
    assert problems(kind, {}) == []
    assert problems(kind, inside_kinds.defaults(kind)) == []


def test_every_fault_kind_has_a_dry_run() -> None:
    assert all(inside_kinds.defaults(kind)["dry_run"] is False for kind in KINDS)


def test_each_wrong_parameter_is_a_separate_problem() -> None:
    assert len(problems("bit_flip", {"bit": 99, "word_bytes": "x", "colour": 1})) == 3


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("copy_delay", {"min_ms": 0, "max_ms": 0, "direction": "load"}),
        ("copy_delay", {"min_ms": 60_000, "max_ms": 60_000}),
        ("bit_flip", {"bit": 63, "word_bytes": 8}),
        ("bit_flip", {"bit": 15, "word_bytes": 2, "dry_run": True}),
        ("load_failure", {"blocks": "all"}),
    ],
)
def test_values_on_the_bounds_are_allowed(kind: str, params: dict[str, Value]) -> None:
    assert problems(kind, params) == []


def test_scenario_and_schedule_mean_the_same_by_a_trigger_and_a_fault() -> None:
    assert set(scenario.Trigger.model_fields) == set(Trigger.__struct_fields__)
    # The phase is for the conductor to mind: what the module gets is in force at once.
    assert set(scenario.FaultSpec.model_fields) - {"phase"} == set(ArmedFault.__struct_fields__)


def test_fault_page_matches_the_catalogue() -> None:
    page = DOCS.read_text()
    assert insert_tables(page) == page, "bring it up to date with: kvchaos faults --page docs/faults.md"
    assert all(f"| `{kind}` |" in page for kind in KINDS)
    assert "`dry_run: true`" in page


@pytest.mark.parametrize("kind", OUTSIDE_KINDS.values(), ids=OUTSIDE_KINDS.keys())
def test_every_outside_kind_describes_its_effect_and_evidence(kind: OutsideKind) -> None:
    assert kind.name not in KINDS
    assert kind.contract in (CONFORMING, CONTRACT_VIOLATING)
    assert set(kind.stacks) <= {LOCAL, *CONTAINERS}
    for text in (kind.target, kind.effect, kind.evidence, kind.consequence, kind.heals):
        assert text.strip()
    assert {"trigger_on", "duration_s"} <= kind.parameters.keys()
    assert fault_catalogue.problems(kind.name, fault_catalogue.defaults(kind.parameters)) == []


def test_outside_fault_page_matches_the_catalogue() -> None:
    page = OUTSIDE_DOCS.read_text()
    assert insert_tables(page) == page, (
        "bring it up to date with: kvchaos faults --page docs/outside-faults.md"
    )
    assert all(f"| `{kind}` |" in page for kind in OUTSIDE_KINDS)


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- kinds -->"):
        insert_tables("# Faults\n")
