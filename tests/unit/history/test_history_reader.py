"""A run directory is judged as it is or not at all: what cannot be read is named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from history import layout
from history.phase_spec import PhaseBounds
from history.reader import UnreadableRun, read_history, read_plan
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import fault, make_plan


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory in which everything is right."""
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    run.fire("f1", "lookup_miss", key="ab")
    write_run(run, tmp_path / "run")
    return tmp_path / "run"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


FILES = (
    layout.EVENTS,
    layout.METRICS,
    layout.RESOURCES,
    layout.requests_file(0),
    "control/faults-worker-100.jsonl",
)


def test_written_history_is_read_back(run_dir: Path) -> None:
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    history = read_history(run_dir)
    assert history.plan == run.plan
    assert history.requests == run.requests
    assert history.events == run.events
    assert history.resources == run.resources
    assert {record.event for record in history.faults} == {"loaded", "armed", "fired", "healed"}
    assert {record.fault for record in history.faults} == {None, "f1"}
    assert history.metrics.times_ns == [scrape.t_ns for scrape in run.scrapes]
    assert history.log == run.log


def test_a_stored_plan_with_bounds_on_speed_is_read_back(run_dir: Path) -> None:
    plan = read_history(run_dir).plan
    content, phase = plan.model_dump(mode="json"), plan.scenario.phases[-1].name
    bounds = {phase: PhaseBounds(ttft_p99_ms=500.0).model_dump()}
    content["scenario"] |= {
        "performance": bounds,
        "limits": {"client": {"event_loop_lag_ms": 50.0, "schedule_lag_ms": 50.0}},
    }
    (run_dir / layout.PLAN).write_text(yaml.safe_dump(content), encoding="utf-8")
    assert read_plan(run_dir).scenario.performance[phase].ttft_p99_ms == 500.0


@pytest.mark.parametrize("name", FILES)
def test_incomplete_last_line_is_ignored(run_dir: Path, name: str) -> None:
    before = read_history(run_dir)
    path = run_dir / name
    whole = path.read_bytes().splitlines(keepends=True)[-1]
    for cut in (whole[:1], whole[: len(whole) // 2], whole[:-1]):
        content = path.read_bytes()
        append(path, cut)
        history = read_history(run_dir)
        assert (history.events, history.requests) == (before.events, before.requests)
        assert history.resources == before.resources
        assert (history.faults, len(history.metrics)) == (before.faults, len(before.metrics))
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("schema_version: 2", "schema_version: 3", "schema_version: .*2"),
        ("seed: 7", "seed: '7'", "seed: .*integer"),
        ("seed: 7", "seed: 7\nsead: 7", "sead: "),
        ("gpu_blocks: 40", "gpu_blocks: true", r"scenario\.server\.gpu_blocks: .*integer"),
    ],
)
def test_a_plan_is_read_strictly(run_dir: Path, old: str, new: str, problem: str) -> None:
    path = run_dir / layout.PLAN
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UnreadableRun, match=problem):
        read_history(run_dir)


def test_missing_history_files_are_empty(run_dir: Path) -> None:
    for name in (*FILES[1:], layout.SERVER_LOG):
        (run_dir / name).unlink()
    history = read_history(run_dir)
    assert (history.requests, history.faults, history.log, len(history.metrics)) == ([], [], [], 0)
    assert all(phase.first_scrape is None for phase in history.phases())


def test_requests_of_all_workers_and_of_the_conductor_are_read(run_dir: Path) -> None:
    part = (run_dir / layout.requests_file(0)).read_bytes()
    for name in (layout.requests_file(1), layout.requests_file("probe")):
        (run_dir / name).write_bytes(part)
    assert len(read_history(run_dir).requests) == 3 * part.count(b"\n")


def test_a_log_that_is_not_utf8_is_read_all_the_same(run_dir: Path) -> None:
    append(run_dir / layout.SERVER_LOG, b"half a \xff character\n")
    assert read_history(run_dir).log[-1] == "half a � character"


def test_a_phase_that_never_began_is_no_phase(run_dir: Path) -> None:
    path = run_dir / layout.EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    healed = next(index for index, line in enumerate(lines) if b"phase_start" in line and b'"healed"' in line)
    path.write_bytes(b"".join(lines[:healed]))
    assert [phase.spec.name for phase in read_history(run_dir).phases()] == ["golden", "chaos"]


def test_a_phase_that_was_cut_short_ends_with_the_run(run_dir: Path) -> None:
    path = run_dir / layout.EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"phase_end" not in line))
    history = read_history(run_dir)
    assert [phase.end_ns for phase in history.phases()] == [history.events[-1].t_ns] * 3
