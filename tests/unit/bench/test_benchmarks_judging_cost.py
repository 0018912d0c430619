"""The cost of judging: the soak it is measured with must be whole and real in shape, and the words right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.judging_cost import (
    MIB,
    TARGET_SIZE,
    JudgingCost,
    growth,
    is_linear,
    measure_judging,
    within_target,
)
from benchmarks.process_watch import MemoryWatch, children, resident
from benchmarks.soak import soak_requests
from benchmarks.soak.soak_writer import write_soak
from history import layout
from history.reader import read_history
from history.verdict import Verdict
from kvchaos.judging.judge_run import judge
from oracles import faults_fired

REQUESTS = 1000


def cost(requests: int, seconds: float, peak_mib: float = 100.0) -> JudgingCost:
    return JudgingCost(requests, requests // 10, 1.0, seconds, peak_mib)


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("soak") / "run"
    write_soak(run_dir, REQUESTS, seed=3)
    return run_dir


def test_synthetic_soak_passes_every_oracle(soak: Path) -> None:
    verdict = judge(read_history(soak))
    assert {result.oracle: result.verdict for result in verdict.results if result.verdict != "pass"} == {}
    assert verdict.outcome == "as expected"
    assert all(result.checked for result in verdict.results)


def test_a_soak_has_the_shape_of_a_real_run(soak: Path) -> None:
    history = read_history(soak)
    assert len(history.requests) == REQUESTS + 2
    seconds = (history.metrics.times_ns[-1] - history.metrics.times_ns[0]) / 1e9
    assert len(history.metrics) == pytest.approx(4 * seconds, rel=0.01)
    assert len(list(history.metrics)) > 400
    assert {record.event for record in history.faults} == {"loaded", "armed", "fired", "note", "healed"}
    assert len(history.log) > REQUESTS


def test_the_same_seed_writes_the_same_soak(soak: Path, tmp_path: Path) -> None:
    write_soak(tmp_path / "again", REQUESTS, seed=3)
    for path in soak.rglob("*.jsonl"):
        assert (tmp_path / "again" / path.relative_to(soak)).read_bytes() == path.read_bytes()


def test_a_soak_of_several_batches_numbers_its_requests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase of above 10,000 requests has batches: numbers of a batch once stood for those of the phase."""
    monkeypatch.setattr(soak_requests, "BATCH", 64)
    write_soak(tmp_path / "run", REQUESTS, seed=3)
    history = read_history(tmp_path / "run")
    assert len({record.id for record in history.requests}) == REQUESTS + 2
    assert judge(history).outcome == "as expected"


def test_soak_with_a_missing_answer_is_detected(soak: Path) -> None:
    history = read_history(soak)
    history.requests.pop(0)
    verdicts = {result.oracle: result.verdict for result in judge(history).results}
    assert verdicts["outcomes"] == verdicts["accounting"] == Verdict.FAIL
    assert verdicts[faults_fired.NAME] == Verdict.PASS


@pytest.mark.parametrize(
    ("seconds", "linear"), [((1.0, 10.0, 100.0), True), ((1.0, 10.0, 140.0), False), ((9.0, 9.0, 9.0), True)]
)
def test_linear_growth_is_judged_on_the_largest_sizes(seconds: tuple[float, ...], linear: bool) -> None:
    costs = [cost(10**exponent, took) for exponent, took in enumerate(seconds, start=1)]
    assert is_linear(costs) is linear


def test_memory_is_that_of_a_process_and_its_children_together() -> None:
    program = "import time; held = bytes(range(256)) * 4 * 40_000; time.sleep(60)"
    both = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {program!r}]); {program}"
    with subprocess.Popen([sys.executable, "-c", both]) as process:
        with MemoryWatch(process.pid) as watch:
            deadline = time.monotonic() + 20
            while watch.peak < 80 << 20 and time.monotonic() < deadline:
                time.sleep(0.05)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
    assert 80 << 20 <= watch.peak < 160 << 20
    assert resident(process.pid) == 0


def test_memory_of_the_benchmark_is_excluded_from_judging(soak: Path) -> None:
    ballast = bytes(range(256)) * 4 * 400_000
    assert 20 < measure_judging(soak, REQUESTS, 0).peak_mib < len(ballast) / MIB / 2


def test_single_size_has_no_growth() -> None:
    assert growth([cost(10, 1.0)]) is is_linear([cost(10, 1.0)]) is None


@pytest.mark.parametrize(
    ("requests", "seconds", "peak_mib", "within"),
    [
        (TARGET_SIZE, 30.0, 2048.0, True),
        (TARGET_SIZE, 30.1, 2048.0, False),
        (TARGET_SIZE, 30.0, 2049.0, False),
        (TARGET_SIZE // 10, 1.0, 1.0, None),
    ],
)
def test_the_target_is_of_one_size(
    requests: int, seconds: float, peak_mib: float, within: bool | None
) -> None:
    assert within_target([cost(requests, seconds, peak_mib)]) is within


def test_the_request_file_is_of_the_size_of_real_ones(soak: Path) -> None:
    size = (soak / layout.requests_file(0)).stat().st_size
    assert 1000 < size / REQUESTS < 2500
