"""A run directory is judged as it is or not at all: what cannot be read is named by file and line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from history import layout
from history.performance import PhaseBounds
from history.reader import UnreadableRun, read_history, read_plan
from tests.unit.histories import clean_run
from tests.unit.run_dirs import write_run
from tests.unit.synthetic import fault, make_plan


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


def test_what_was_written_is_read_back(run_dir: Path) -> None:
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    history = read_history(run_dir)
    assert history.plan == run.plan
    assert history.requests == run.requests
    assert history.events == run.events
    assert history.resources == run.resources
    assert [record.fault for record in history.faults] == [None, "f1"]
    assert history.metrics.times_ns == [scrape.t_ns for scrape in run.scrapes]
    assert history.log == run.log


def test_a_stored_plan_with_bounds_on_speed_is_read_back(run_dir: Path) -> None:
    plan = read_history(run_dir).plan
    content, phase = plan.model_dump(mode="json"), plan.scenario.phases[-1].name
    bounds = {phase: PhaseBounds(ttft_p99_ms=500.0).model_dump()}
    content["scenario"] |= {"performance": bounds, "limits": {"client": {"lag_ms": 50.0, "late_ms": 50.0}}}
    (run_dir / layout.PLAN).write_text(yaml.safe_dump(content), encoding="utf-8")
    assert read_plan(run_dir).scenario.performance[phase].ttft_p99_ms == 500.0


@pytest.mark.parametrize("name", FILES)
def test_a_last_line_cut_by_a_kill_is_left_out(run_dir: Path, name: str) -> None:
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


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda line: line[: len(line) // 2] + b"\n", "truncated|malformed"),
        (lambda line: b"\n", "truncated"),
        (lambda line: b"\0" * len(line) + b"\n", "malformed"),
        (lambda line: b"[]\n", "Expected `object`, got `array`"),
        (lambda line: line.replace(b'"v":1', b'"v":2'), r"Invalid enum value 2 - at `\$\.v`"),
        (lambda line: line.replace(b'"v":1', b'"v":1,"extra":0'), "unknown field `extra`"),
        (lambda line: line.replace(b'mono_ns":', b'mono":'), "unknown field|missing required field"),
        (lambda line: line.replace(b'"v":1', b'"v":"1"'), "Expected `int`, got `str`"),
        (lambda line: line.replace(b'":', b'\xff":', 1), "utf-8"),
    ],
)
def test_a_damaged_line_is_named_by_file_and_number(
    run_dir: Path, name: str, damage: Callable[[bytes], bytes], told: str
) -> None:
    path = run_dir / name
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, damage(first), *rest]))
    with pytest.raises(UnreadableRun, match=told) as caught:
        read_history(run_dir)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_a_series_that_no_line_introduced_is_named_by_file_and_line(run_dir: Path) -> None:
    path = run_dir / layout.METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"changed":{', b'"changed":{"999":1.0,').replace(b",}", b"}")
    path.write_bytes(b"".join(lines))
    with pytest.raises(UnreadableRun, match=r"metrics\.jsonl: line 2: series 999 was never introduced"):
        read_history(run_dir)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "file: Input should be an object"),
        (b"- 1\n", "file: Input should be an object"),
        (b"a: [\n  b\nc: }\n", "is not YAML: "),
        (b"a: \xff\n", "is not UTF-8"),
        (b'a: "\\ud800"\n', "is not YAML: "),
        (b"created: 2026-13-45\n", "run_id: Field required"),
        (b"a: !!bool x\n", "tag .* is not allowed"),
        (b"&a [*a]\n", "anchor &a is not allowed"),
        (b"[" * 100_000, "levels of nesting"),
        (b"schema_version: 1\n", "run_id: Field required"),
    ],
)
def test_a_damaged_plan_is_one_line_with_its_file(run_dir: Path, content: bytes, told: str) -> None:
    path = run_dir / layout.PLAN
    path.write_bytes(content)
    with pytest.raises(UnreadableRun, match=told) as caught:
        read_history(run_dir)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema_version: 1", "schema_version: 0", "schema_version: .*1"),
        ("seed: 7", "seed: '7'", "seed: .*integer"),
        ("seed: 7", "seed: 7\nsead: 7", "sead: "),
        ("gpu_blocks: 40", "gpu_blocks: true", r"scenario\.server\.gpu_blocks: .*integer"),
    ],
)
def test_a_plan_is_read_strictly(run_dir: Path, old: str, new: str, told: str) -> None:
    path = run_dir / layout.PLAN
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UnreadableRun, match=told):
        read_history(run_dir)


@pytest.mark.parametrize("name", [layout.PLAN, *FILES, layout.SERVER_LOG])
def test_a_folder_in_place_of_a_file_is_one_line(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    (run_dir / name).mkdir()
    with pytest.raises(UnreadableRun, match=r"cannot be read: .*Is a directory") as caught:
        read_history(run_dir)
    assert str(caught.value).startswith(f"{run_dir / name}: ")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [layout.PLAN, *FILES, layout.SERVER_LOG])
def test_a_pipe_in_place_of_a_file_is_one_line_and_not_waited_for(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    os.mkfifo(run_dir / name)
    with pytest.raises(UnreadableRun, match=r"cannot be read: .*Is no regular file"):
        read_history(run_dir)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRun, match="no such run directory"):
        read_history(tmp_path / "nothing")


def test_a_run_without_events_never_began(run_dir: Path) -> None:
    (run_dir / layout.EVENTS).unlink()
    with pytest.raises(UnreadableRun, match=r"events\.jsonl: no events; the run never began"):
        read_history(run_dir)


def test_files_that_a_run_never_came_to_are_empty_histories(run_dir: Path) -> None:
    for name in (*FILES[1:], layout.SERVER_LOG):
        (run_dir / name).unlink()
    history = read_history(run_dir)
    assert (history.requests, history.faults, history.log, len(history.metrics)) == ([], [], [], 0)
    assert all(phase.first_scrape is None for phase in history.phases())


def test_requests_of_all_workers_and_of_the_conductor_are_read(run_dir: Path) -> None:
    part = (run_dir / layout.requests_file(0)).read_bytes()
    for name in (layout.requests_file(1), layout.requests_file("canary")):
        (run_dir / name).write_bytes(part)
    assert len(read_history(run_dir).requests) == 3 * part.count(b"\n")


def test_a_log_that_is_not_utf8_is_read_all_the_same(run_dir: Path) -> None:
    append(run_dir / layout.SERVER_LOG, b"half a \xff character\n")
    assert read_history(run_dir).log[-1] == "half a � character"


def test_a_phase_that_never_began_is_no_phase(run_dir: Path) -> None:
    path = run_dir / layout.EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    healed = next(place for place, line in enumerate(lines) if b"phase_start" in line and b'"healed"' in line)
    path.write_bytes(b"".join(lines[:healed]))
    assert [phase.spec.name for phase in read_history(run_dir).phases()] == ["golden", "chaos"]


def test_a_phase_that_was_cut_short_ends_with_the_run(run_dir: Path) -> None:
    path = run_dir / layout.EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"phase_end" not in line))
    history = read_history(run_dir)
    assert [phase.end_ns for phase in history.phases()] == [history.events[-1].t_ns] * 3
