"""What a run directory has lost since the run ended is never taken for a run in which all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from history import layout
from history.events import EvidenceCounted, Timed, typed
from history.jsonl import LineWriter
from history.reader import UnreadableRun, read_events, read_history
from history.records import Event
from history.seals import changes, count_lines
from history.verdict import phase
from kvchaos.judging.judge_run import judge, judge_run_dir
from tests.support.histories import clean_run
from tests.support.run_dirs import note_evidence, write_run
from tests.support.synthetic_records import SECOND, fault, make_plan, resource_record

FAULTS = f"{layout.CONTROL}/faults-worker-100.jsonl"
LEDGER = f"{layout.CONTROL}/ledger-worker-100.jsonl"
FILES = (
    layout.EVENTS,
    layout.METRICS,
    layout.requests_file(0),
    layout.CLIENT,
    layout.RESOURCES,
    FAULTS,
    LEDGER,
    layout.SERVER_LOG,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run in which everything is right, and which says how many lines its files have."""
    run = clean_run(make_plan(faults=(fault("copy_delay"),)))
    run.fire("f1", "copy_delay", ms=0.001, direction="load")
    # As in a real run: more samples than any judgement needs.
    run.resources[1:1] = [resource_record(run.resources[0].t_ns + SECOND)] * 4
    run.client *= 4
    write_run(run, tmp_path / "run")
    note_evidence(tmp_path / "run")
    assert judge_run_dir(tmp_path / "run").outcome == "as expected"
    return tmp_path / "run"


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def keep(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def first_half(path: Path) -> None:
    keep(path, lines_of(path)[: len(lines_of(path)) // 2])


def second_half(path: Path) -> None:
    keep(path, lines_of(path)[len(lines_of(path)) // 2 :])


def without_one_line(path: Path) -> None:
    keep(path, lines_of(path)[1:])


def no_file(path: Path) -> None:
    path.unlink()


def a_line_twice(path: Path) -> None:
    keep(path, [*lines_of(path)[:1], *lines_of(path)])


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("damage", [first_half, second_half, without_one_line, no_file])
def test_truncated_history_file_makes_the_run_unknown(
    run_dir: Path, name: str, damage: Callable[[Path], None]
) -> None:
    before = len(lines_of(run_dir / name))
    damage(run_dir / name)
    try:
        verdict = judge_run_dir(run_dir)
    except UnreadableRun:
        assert name == layout.METRICS  # Its lines are differences to the lines before.
        return
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/changed"
    assert verdict.cut.text.startswith(f"{name} ")
    assert f" {before} " in verdict.cut.text


@pytest.mark.parametrize("name", [layout.CLIENT, layout.RESOURCES, layout.SERVER_LOG])
def test_duplicated_history_line_makes_the_run_unknown(run_dir: Path, name: str) -> None:
    a_line_twice(run_dir / name)
    assert judge_run_dir(run_dir).outcome == "unknown"


def test_added_history_file_makes_the_run_unknown(run_dir: Path) -> None:
    (run_dir / layout.requests_file(7)).write_bytes(b"")
    cut = judge_run_dir(run_dir).cut
    assert cut is not None
    assert cut.kind == "run/changed"
    assert "requests-7.jsonl" in cut.text


def test_events_that_are_missing_before_the_note_make_the_run_unknown(run_dir: Path) -> None:
    lines = lines_of(run_dir / layout.EVENTS)
    keep(run_dir / layout.EVENTS, [line for line in lines if b'"leak_probe"' not in line])
    assert judge_run_dir(run_dir).outcome == "unknown"


def test_run_without_an_evidence_note_is_judged_by_its_files(run_dir: Path) -> None:
    keep(run_dir / layout.EVENTS, lines_of(run_dir / layout.EVENTS)[:-1])
    assert judge_run_dir(run_dir).outcome == "as expected"


def test_missing_evidence_note_makes_a_planned_run_unknown(run_dir: Path) -> None:
    plan = (run_dir / layout.PLAN).read_text()
    (run_dir / layout.PLAN).write_text(plan.replace("notes_evidence: false", "notes_evidence: true"))
    events = lines_of(run_dir / layout.EVENTS)[:-1]
    keep(run_dir / layout.EVENTS, events)
    cut = judge_run_dir(run_dir).cut
    assert cut is not None
    assert cut.kind == "run/evidence-missing"
    note_evidence(run_dir)
    assert judge_run_dir(run_dir).outcome == "as expected"


@pytest.mark.parametrize("kind", ["phase_start", "phase_end"])
def test_planned_phase_without_events_makes_the_run_unknown(kind: str) -> None:
    run = clean_run()
    run.events = [event for event in run.events if (event.kind, event.data.get("phase")) != (kind, "healed")]
    verdict = judge(run.history())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert (verdict.cut.kind, verdict.cut.subject) == ("run/phase-missing", phase("healed"))


def test_phases_skipped_after_a_stall_do_not_hide_a_violation() -> None:
    run = clean_run()
    run.change_event("phase_end", reason="stalled")
    run.events = [event for event in run.events if event.data.get("phase") != "healed"]
    run.change_request(0, outcome="error", usage=None)
    assert judge(run.history()).outcome == "not as expected"


def test_evidence_note_counts_complete_lines_of_judged_files(run_dir: Path) -> None:
    with (run_dir / layout.CLIENT).open("ab") as file:
        file.write(b"cut by a ki")
    (run_dir / "notes.txt").write_text("mine\n")
    counted = count_lines(run_dir)
    assert set(counted) == {*FILES, layout.PLAN, layout.PROMETHEUS}
    assert counted[layout.CLIENT] == len(read_history(run_dir).client)
    assert not list(changes(run_dir, [typed(event) for event in read_events(run_dir)]))


def test_counts_that_were_changed_are_one_line_for_each_file(run_dir: Path) -> None:
    counted = EvidenceCounted(lines={"a\nb": 7, layout.EVENTS: 3})
    reported = list(changes(run_dir, [Timed(1, 1, counted)]))
    assert reported[0].startswith("a b ")
    assert "7" in reported[0]
    assert len(reported) == len(count_lines(run_dir)) + 1
    assert all("\n" not in line for line in reported)


def test_malformed_evidence_counts_make_the_run_unreadable(run_dir: Path) -> None:
    with LineWriter(run_dir / layout.EVENTS) as writer:
        writer.write(Event(t_ns=1, mono_ns=1, kind=EvidenceCounted.kind, data={layout.EVENTS: "many"}))
    with pytest.raises(UnreadableRun, match=layout.EVENTS):
        read_history(run_dir)


def test_phase_missing_before_the_stall_makes_the_run_unknown() -> None:
    """Only what comes after the trouble was given up."""
    run = clean_run()
    run.events = [
        event for event in run.events if (event.kind, event.data.get("phase")) != ("phase_start", "golden")
    ]
    run.events = [
        msgspec.structs.replace(event, data={**event.data, "reason": "stalled"})
        if (event.kind, event.data.get("phase")) == ("phase_end", "healed")
        else event
        for event in run.events
    ]
    cut = judge(run.history()).cut
    assert cut is not None
    assert (cut.kind, cut.subject) == ("run/phase-missing", phase("golden"))
