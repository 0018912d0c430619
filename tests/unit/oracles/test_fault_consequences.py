"""A fault that fired without a consequence, or damage in a phase without flips, must not pass."""

from __future__ import annotations

from history.plan import RunPlan
from tests.server.consequences import doubts
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import fault, make_plan


def plan() -> RunPlan:
    return make_plan(faults=(fault("bit_flip"),))


def found(run: Run) -> list[str]:
    return [doubt.kind for doubt in doubts(run.history(), {"chaos"})]


def flipped(phase: str) -> Run:
    """A run in which a bit flips, and one answer of a phase differs."""
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=1)
    run.change_request(run.first_of(phase), token_ids=[11, 12, 99, 14])
    return run


def test_consequence_check_reports_a_fault_that_never_fired() -> None:
    assert found(clean_run(plan())) == ["never-fired"]


def test_a_fault_that_changed_nothing_never_fired() -> None:
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=0)
    assert found(run) == ["never-fired"]


def test_consequence_check_reports_a_fault_without_consequence() -> None:
    run = clean_run(plan())
    run.fire("f1", "bit_flip", bytes_changed=1)
    assert found(run) == ["no-damage-shown"]


def test_consequence_check_accepts_damage_in_the_bit_flip_phase() -> None:
    assert found(flipped("chaos")) == []


def test_consequence_check_reports_damage_in_other_phases() -> None:
    assert found(flipped("healed")) == ["damage-elsewhere"]
