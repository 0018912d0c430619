"""Metrics that another process reads are those that this one would read, and so are the complaints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from history import layout
from history.jsonl import UnreadableRun
from history.metrics import MetricLog
from history.metrics_subprocess import metrics_in_subprocess, read_metrics
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run

ALWAYS = 0
"""Bytes from which on another process reads: any file."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run = clean_run()
    run.bump("vllm:kv_cache_usage_perc", float("nan"), since=5)
    run.scrapes[8].values.pop("vllm:num_preemptions_total")
    write_run(run, tmp_path / "run")
    return tmp_path / "run" / layout.METRICS


def content(log: MetricLog) -> list[object]:
    series = [(one.key, one.labels, one.at.tolist(), list(map(str, one.values)), one.vanished) for one in log]
    return [log.times_ns, log.incarnations, log.failures, log.last_ns(), series]


def test_subprocess_reads_the_same_metrics(path: Path) -> None:
    with metrics_in_subprocess(path, ALWAYS) as metrics:
        assert content(metrics()) == content(read_metrics(path))
    assert len(read_metrics(path)) > 10


@pytest.mark.parametrize("damaged", ["{", '{"v":1}'])
def test_subprocess_reports_the_same_error(path: Path, damaged: str) -> None:
    path.write_text(f"{path.read_text()}{damaged}\n")
    with pytest.raises(UnreadableRun) as here:
        read_metrics(path)
    with metrics_in_subprocess(path, ALWAYS) as metrics, pytest.raises(UnreadableRun) as there:
        metrics()
    assert str(there.value) == str(here.value)
    assert str(here.value).startswith(f"{path}:")


def test_subprocess_reports_lines_out_of_order(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(reversed(lines)))
    with metrics_in_subprocess(path, ALWAYS) as metrics, pytest.raises(UnreadableRun, match="line 1: "):
        metrics()


def test_dead_subprocess_is_an_error_without_traceback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with metrics_in_subprocess(path, ALWAYS) as metrics, pytest.raises(UnreadableRun, match="code 1"):
        metrics()


def test_interrupted_reader_leaves_no_subprocess(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), metrics_in_subprocess(path, ALWAYS):
        raise ZeroDivisionError


def test_subprocess_ignores_modules_of_the_working_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "__init__.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with metrics_in_subprocess(path, ALWAYS) as metrics:
        assert len(metrics()) == len(read_metrics(path))


def test_a_missing_file_is_an_empty_log(tmp_path: Path) -> None:
    with metrics_in_subprocess(tmp_path / "nothing", ALWAYS) as metrics:
        assert len(metrics()) == 0
