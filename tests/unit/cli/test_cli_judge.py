"""`kvchaos judge` on what is no whole run: one line with file and place, exit code 3, never a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from history import layout
from kvchaos.cli.app import run as command_line
from tests.support.fake_server_runs import verdict_of
from tests.support.histories import Run, clean_run
from tests.support.run_dirs import write_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_run(clean_run(), tmp_path / "run")
    return tmp_path / "run"


def complaint(capsys: pytest.CaptureFixture[str], run_dir: Path) -> str:
    """The one line that a directory without a readable run is answered with."""
    assert command_line(["judge", str(run_dir)]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert not (run_dir / layout.VERDICT).is_file()
    assert line.startswith(f"kvchaos: {run_dir}")
    return line


def damage(path: Path, old: bytes, new: bytes, line: int = 1) -> None:
    """Change one line of a file; lines are counted from 1."""
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_bytes(b"".join(lines))


def test_missing_run_directory_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in complaint(capsys, tmp_path / "nothing")


def test_empty_run_directory_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "run.yaml: cannot be read" in complaint(capsys, tmp_path)


def test_file_as_run_directory_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read" in complaint(capsys, run_dir / layout.EVENTS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"a: [\n\n b", ":4: is not YAML: "), (b"", ": file: "), (b"\x80\n", ":1: is not UTF-8 text; ")],
)
def test_damaged_plan_is_one_line(
    run_dir: Path, content: bytes, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / layout.PLAN).write_bytes(content)
    assert f"run.yaml{problem}" in complaint(capsys, run_dir)


@pytest.mark.parametrize("name", [layout.EVENTS, layout.METRICS, layout.requests_file(0)])
def test_a_damaged_line_is_named_by_file_and_number(
    run_dir: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run_dir / name, b"{", b"", line=3)
    assert f"{run_dir / name}:3: " in complaint(capsys, run_dir)


def test_a_damaged_value_of_a_scrape_is_named_by_file_and_number(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run_dir / layout.METRICS, b'"changed":{"0":0.0', b'"changed":{"0":"none"')
    assert f"{run_dir / layout.METRICS}: line 1: not a value: 'none'" in complaint(capsys, run_dir)


def test_plan_of_a_different_schema_version_is_refused(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_dir / layout.PLAN
    path.write_text(path.read_text().replace("schema_version: 2", "schema_version: 0"))
    assert "run.yaml: schema_version: " in complaint(capsys, run_dir)


@pytest.mark.parametrize("name", [layout.EVENTS, layout.METRICS, layout.requests_file(0)])
def test_records_of_a_different_schema_version_are_refused(
    run_dir: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run_dir / name, b'"v":2', b'"v":0', line=2)
    assert f"{run_dir / name}:2: Invalid value 0" in complaint(capsys, run_dir)


def test_run_without_events_is_one_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / layout.EVENTS).write_bytes(b"")
    assert "the run never began" in complaint(capsys, run_dir)


def test_full_disk_at_the_verdict_is_one_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / layout.VERDICT).symlink_to("/dev/full")
    line = complaint(capsys, run_dir)
    assert "the verdict cannot be written: No space left on device" in line


def died() -> Run:
    run = clean_run()
    run.event("server_exit", code=1)
    return run


def interrupted() -> Run:
    run = clean_run()
    run.event("interrupted", signal="SIGTERM")
    return run


@pytest.mark.parametrize(("run", "code"), [(clean_run(), 0), (died(), 1), (interrupted(), 2)])
def test_exit_code_follows_the_outcome(
    tmp_path: Path, run: Run, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run, tmp_path / "run")
    assert command_line(["judge", str(tmp_path / "run")]) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert verdict_of(tmp_path / "run").outcome in shown.out
