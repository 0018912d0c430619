"""A load worker that is lost in mid-run: nobody can say what the server would have done, but all is kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from history import layout
from history.events import ServerExit, ServerStalled
from history.reader import read_history
from tests.support.fake_server_runs import (
    Bench,
    finished,
    groups_of,
    load_worker,
    members,
    scenario,
    verdict_of,
)

LONG = scenario("--fake-token-s", "0.02", load=400, limits={"stall_s": 3.0})


@pytest.mark.parametrize(
    ("hurt", "figure"),
    [(signal.SIGKILL, "code -9;"), (signal.SIGSTOP, "for 3.")],
    ids=["killed", "frozen"],
)
def test_lost_load_worker_makes_the_run_unknown_and_keeps_other_records(
    tmp_path: Path, hurt: signal.Signals, figure: str
) -> None:
    bench = Bench(tmp_path)
    conductor = bench.start(LONG, "--workers", "2")
    bench.wait_for_event("phase_start", "load")
    groups, pid = groups_of(conductor.pid), load_worker(conductor.pid, 1)
    os.kill(pid, hurt)
    code, out, err = finished(conductor)
    assert (code, err) == (2, "")
    assert "unknown" in out
    verdict = verdict_of(bench.run_dir())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/failed"
    assert f"pid {pid}" in verdict.cut.text
    assert figure in verdict.cut.text
    # Records that went with the worker are nothing to hold against the server.
    assert {result.oracle: result.verdict for result in verdict.results}["accounting"] == "unknown"
    history = read_history(bench.run_dir())
    # The server stood still through no fault of its own, and nobody says that it did.
    assert history.events_of(ServerStalled) == []
    assert history.events_of(ServerExit) == []
    numbers = [int(record.id.removeprefix("load-")) for record in history.requests if record.phase == "load"]
    mine = sorted(number for number in numbers if number % 2 == 0)
    assert mine == list(range(4, 4 + 2 * len(mine), 2))
    assert members(groups) == set()
    assert (bench.run_dir() / layout.REPORT).exists()
