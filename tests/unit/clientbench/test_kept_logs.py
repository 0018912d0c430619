"""A log that a message names is there until the next measurement, and nothing else of a failure is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from kvchaos.cli.app import run
from kvchaos.clientbench.client_bench_file import ClientBenchFailed, StepFigures
from kvchaos.clientbench.measure import MeasureOptions
from kvchaos.paths import LogFolder


class Broken(Exception):
    pass


def fail_in(logs: LogFolder) -> Path:
    """A measurement that fails; its folder."""
    with suppress(Broken), logs.scratch("lean") as folder:
        (folder / "client.log").write_text("why")
        (folder / "empty.log").touch()
        (folder / "requests.jsonl").write_text("large")
        (folder / "artifacts").mkdir()
        raise Broken
    return folder


def test_failed_bench_keeps_logs_and_removes_records(tmp_path: Path) -> None:
    folder = fail_in(LogFolder(tmp_path / "logs"))
    assert [path.name for path in folder.iterdir()] == ["client.log"]


def test_two_failures_keep_their_logs_apart(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    assert fail_in(logs) != fail_in(logs)
    assert len(list(logs.path.glob("*/client.log"))) == 2


def test_successful_client_bench_keeps_no_log(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    with logs.scratch("lean") as folder:
        (folder / "client.log").write_text("fine")
    assert list(logs.path.iterdir()) == []


def test_the_next_measurement_removes_old_logs_and_no_folder_in_use(tmp_path: Path) -> None:
    logs = LogFolder(tmp_path / "logs")
    old = fail_in(logs)
    with logs.scratch("lean") as used:
        (used / "run.yaml").touch()
        logs.empty()
        assert not old.exists()
        assert used.exists()


def test_failed_client_bench_names_its_log(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: MeasureOptions, folder: Path, report: object) -> list[StepFigures]:
        (folder / "loader.log").write_text("Traceback")
        raise ClientBenchFailed("load worker 0 ended with code 1; see loader.log")

    monkeypatch.setattr("kvchaos.cli.client_bench_command.measure", measure)
    assert run(["client-bench"]) == 3
    message = capsys.readouterr().err
    (named,) = (cache / "logs" / "client-bench").glob("*/loader.log")
    assert f"see loader.log; logs: {named.parent.parent}" in message
