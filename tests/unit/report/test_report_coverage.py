"""The grid must show what was struck in which state, and leave the holes in it to be seen."""

from __future__ import annotations

import msgspec

from history.scenario import FaultSpec, Trigger
from kvchaos.report.history_tables import coverage, coverage_text
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import make_plan


def planned(*kinds: str) -> Run:
    faults = tuple(FaultSpec(id=f"f-{kind}", kind=kind, trigger=Trigger(every=1)) for kind in kinds)
    return clean_run(make_plan(faults=faults))


def fire(run: Run, kind: str, *states: str, **evidence: int) -> None:
    run.fire(f"f-{kind}", kind, **evidence)
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], states=list(states) or None)


def test_coverage_counts_strikes_by_kind_and_state() -> None:
    run = planned("bit_flip", "lookup_miss")
    fire(run, "bit_flip", "loading")
    fire(run, "bit_flip", "loading")
    fire(run, "bit_flip", "decode", "storing")
    fire(run, "lookup_miss", "queued")
    assert coverage(run.history()) == {
        "bit_flip": {"loading": 2, "decode": 1, "storing": 1},
        "lookup_miss": {"queued": 1},
    }


def test_kind_without_strikes_has_an_empty_row() -> None:
    run = planned("bit_flip", "noise")
    fire(run, "bit_flip", "loading", bytes_changed=0)
    assert coverage(run.history()) == {"bit_flip": {}, "noise": {}}
    assert "| noise | - | - | - | - | - | - |" in coverage_text(run.history())


def test_strike_in_an_unknown_state_has_its_own_column() -> None:
    run = planned("completion_reorder")
    fire(run, "completion_reorder")
    text = coverage_text(run.history())
    assert "| fault | queued | loading | prefill | decode | storing | not known |" in text
    assert "| completion_reorder | - | - | - | - | - | 1 |" in text


def test_notes_and_refusals_are_no_strikes() -> None:
    run = planned("bit_flip")
    for event in ("note", "refused", "healed"):
        fire(run, "bit_flip", "loading")
        run.faults[-1] = msgspec.structs.replace(run.faults[-1], event=event)
    assert coverage(run.history()) == {"bit_flip": {}}


def test_run_without_faults_has_no_coverage_grid() -> None:
    assert coverage_text(clean_run().history()) == ""
