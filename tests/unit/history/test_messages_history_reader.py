"""What is said of a run directory that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from history import layout
from history.reader import UnreadableRun, read_history
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import fault, make_plan
from tests.unit.history.test_history_reader import FILES


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory in which everything is right."""
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    run.fire("f1", "lookup_miss", key="ab")
    write_run(run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line[: len(line) // 2] + b"\n", "truncated|malformed"),
        (lambda line: b"\n", "truncated"),
        (lambda line: b"\0" * len(line) + b"\n", "malformed"),
        (lambda line: b"[]\n", "Expected `object`, got `array`"),
        (lambda line: line.replace(b'"v":2', b'"v":3'), r"Invalid value 3 - at `\$\.v`"),
        (lambda line: line.replace(b'"v":2', b'"v":2,"extra":0'), "unknown field `extra`"),
        (lambda line: line.replace(b'mono_ns":', b'mono":'), "unknown field|missing required field"),
        (lambda line: line.replace(b'"v":2', b'"v":"2"'), r"Expected `int` - at `\$\.v`"),
        (lambda line: line.replace(b'"v":2,', b""), "missing required field `v`"),
        (lambda line: line.replace(b'_ns":', b'_ns\xff":', 1), "utf-8"),
    ],
)
def test_a_damaged_line_is_named_by_file_and_number(
    run_dir: Path, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = run_dir / name
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, damage(first), *rest]))
    with pytest.raises(UnreadableRun, match=message) as caught:
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
    ("content", "message"),
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
        (b"schema_version: 2\n", "run_id: Field required"),
        (b"schema_version: 3\n", "schema_version: Input should be 2"),
    ],
)
def test_a_damaged_plan_is_one_line_with_its_file(run_dir: Path, content: bytes, message: str) -> None:
    path = run_dir / layout.PLAN
    path.write_bytes(content)
    with pytest.raises(UnreadableRun, match=message) as caught:
        read_history(run_dir)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [layout.PLAN, *FILES, layout.SERVER_LOG])
def test_directory_as_history_file_is_one_line(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    (run_dir / name).mkdir()
    with pytest.raises(UnreadableRun, match=r"cannot be read: .*Is a directory") as caught:
        read_history(run_dir)
    assert str(caught.value).startswith(f"{run_dir / name}: ")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [layout.PLAN, *FILES, layout.SERVER_LOG])
def test_pipe_as_history_file_is_one_line_without_blocking(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    os.mkfifo(run_dir / name)
    with pytest.raises(UnreadableRun, match=r"cannot be read: .*Is no regular file"):
        read_history(run_dir)


def test_missing_run_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRun, match="no such run directory"):
        read_history(tmp_path / "nothing")


def test_a_run_without_events_never_began(run_dir: Path) -> None:
    (run_dir / layout.EVENTS).unlink()
    with pytest.raises(UnreadableRun, match=r"events\.jsonl: no events; the run never began"):
        read_history(run_dir)
