"""What is said of a plan that a load worker cannot carry out."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtests.messages import Failed, Ready
from tests.integration.test_loadtests_worker import receive, send_line, start, worker
from tests.support.load_processes import PATIENCE_S, loaders, write_plan


def test_a_plan_with_a_bad_workload_is_refused_in_one_line(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, "http://127.0.0.1:1", kind="no-such")
    with loaders(tmp_path, plan) as load:
        assert not load.wait_ready(PATIENCE_S)
        (line,) = load.failures()
    assert "workload asks: no kind 'no-such'" in line


def test_a_target_on_another_machine_is_refused(tmp_path: Path) -> None:
    with loaders(tmp_path, write_plan(tmp_path, "http://192.0.2.1:80")) as load:
        assert not load.wait_ready(PATIENCE_S)
        (line,) = load.failures()
    assert "not on this machine" in line


def test_a_phase_without_its_workload_is_refused(tmp_path: Path) -> None:
    with worker(tmp_path, write_plan(tmp_path, "http://127.0.0.1:1")) as process:
        assert isinstance(receive(process), Ready)
        send_line(process, msgspec.json.encode(start(requests=1, concurrency=1, workload="other")))
        report = receive(process)
    assert report == Failed(message="phase load: no workload named other")
    assert process.returncode == 3
