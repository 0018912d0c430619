"""`kvchaos triage`: a real Prometheus on a stored run, which is not changed and of which nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect

from history.reader import read_history
from kvchaos.prometheus.program import VARIABLE, need_prometheus
from tests.support.source_tree import ROOT
from tests.support.stored import DATA, unpack

pytestmark = pytest.mark.prometheus
NS_PER_S = 1_000_000_000
READY_S = 120


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(DATA / "hang.tar.xz", tmp_path_factory.mktemp("stored"))


@contextmanager
def triage(run_dir: Path, cache: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "kvchaos", "triage", str(run_dir)]
    environment = {**os.environ, "KVCHAOS_CACHE": str(cache), "TMPDIR": str(cache)}
    with (
        output.open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log) as process,
    ):
        try:
            deadline = time.monotonic() + READY_S
            while "Ctrl-C" not in output.read_text():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture
def program_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the program is that of the real one."""
    monkeypatch.setenv(VARIABLE, str(need_prometheus(os.environ)))
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_prometheus_serves_the_metrics_of_the_run_at_the_window_of_its_finding(
    run_dir: Path, program_cache: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    output = tmp_path / "output"
    with triage(run_dir, program_cache, output) as process:
        text = output.read_text()
        (address,) = set(re.findall(r"http://127\.0\.0\.1:\d+", text))
        history = read_history(run_dir)
        last = len(history.metrics.times_ns) - 1
        at = {"time": history.metrics.times_ns[last] / NS_PER_S + 1}
        with PrometheusConnect(address, timeout=10) as api:
            for series in history.metrics:
                if series.metric == "vllm:num_requests_waiting":
                    (found,) = api.custom_query(series.metric, params=at)
                    assert float(found["value"][1]) == series.value(last)
            (info,) = api.custom_query("kvchaos_run_info", params=at)
            assert info["metric"]["run"] == history.plan.run_id
    assert process.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    left = [path for path in program_cache.rglob("*") if path.name.startswith(("kvchaos-triage", "triage-"))]
    assert left == []


def test_folder_that_is_no_run_is_refused(tmp_path: Path, program_cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvchaos", "triage", str(tmp_path)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 3
    assert str(tmp_path).encode() in done.stderr
