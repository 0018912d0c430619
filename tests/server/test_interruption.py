"""A run that is cut off in the middle of chaos: by a signal, by a kill, or by the death of its server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.inside.control import SCHEDULE
from history import layout
from history.events import ServerExit
from tests.server.bench import OLD, Bench, RunDir, scenario_content, wait_for
from tests.server.footprint import assert_nothing_abandoned, footprint, shm_files
from tests.support.fake_server_runs import members, runs
from tests.support.oracle_results import finding_of

pytestmark = pytest.mark.server

SCENARIO = "load-failure-recompute"
FAULT = "failed-load"
LONG = 5000
"""Requests; far more than are sent before the run is cut off."""


@pytest.fixture
def long_chaos(bench: Bench) -> Path:
    """A scenario whose chaos does not end by itself within the test."""
    golden, chaos, healed = scenario_content(SCENARIO)["phases"]
    return bench.variant(SCENARIO, phases=[golden, {**chaos, "requests": LONG}, {**healed, "first": LONG}])


@pytest.fixture
def decoy() -> Iterator[int]:
    """A process that looks like a server of ours by its command line, and is none."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()", "-m", "vllm.entrypoints.openai.api_server"],
        start_new_session=True,
    )
    yield process.pid
    process.kill()
    process.wait()


def healed_lines(run: RunDir) -> list[str]:
    return [str(line.evidence["reason"]) for line in run.journal("healed", FAULT)]


def test_clean_after_a_conductor_kill_ends_exactly_its_server(
    bench: Bench, long_chaos: Path, decoy: int
) -> None:
    older = shm_files()
    with bench.running(long_chaos, OLD) as command:
        run = command.wait_for_event("armed", phase="chaos")
        had = footprint(command, run)
        served = had.server_processes()
        command.process.kill()
        command.process.wait()
        # Load workers notice by themselves; a server does not.
        wait_for(lambda: not members(set(had.workers)))
        assert had.server_processes() == served

        cleaned = bench.run("clean")
        assert (cleaned.code, cleaned.err) == (0, "")
        assert str(run.path) in cleaned.out.splitlines()[0]
        assert cleaned.out.count(f"server {had.server} ({len(served)} process") == 1
        assert had.left() == []
        assert_nothing_abandoned(older)
        assert not (run.path / layout.CONTROL / SCHEDULE).exists()
        assert runs(decoy)

        again = bench.run("clean")
        assert (again.code, len(again.out.splitlines()), again.err) == (0, 1, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_heals_the_faults_and_leaves_no_process(
    bench: Bench, long_chaos: Path, number: signal.Signals
) -> None:
    older = shm_files()
    with bench.running(long_chaos, OLD) as command:
        had = footprint(command, command.wait_for_event("armed", phase="chaos"))
        command.process.send_signal(number)
        finished = command.finish()
        assert had.left() == []
        assert_nothing_abandoned(older)
    assert finished.code == 2, finished.out
    run = finished.run()
    assert run.verdict.outcome == "unknown"
    assert run.verdict.cut is not None
    assert run.verdict.cut.kind == "run/interrupted"
    assert number.name in run.verdict.cut.text
    assert healed_lines(run) == ["conductor"]


def test_server_killed_in_a_phase_is_not_as_expected_and_leaves_no_process(
    bench: Bench, long_chaos: Path
) -> None:
    older = shm_files()
    with bench.running(long_chaos, OLD) as command:
        had = footprint(command, command.wait_for_event("armed", phase="chaos"))
        os.kill(had.server, signal.SIGKILL)
        finished = command.finish()
        assert had.left() == []
        assert_nothing_abandoned(older)
    assert finished.code == 1, finished.out
    run = finished.run()
    assert run.verdict.outcome == "not as expected"
    (exit_event,) = run.history.events_of(ServerExit)
    assert exit_event.data == ServerExit(code=-signal.SIGKILL, pid=had.server)
    finding = finding_of(run.result_of("server-alive"), "server-alive/died")
    assert finding.figures == {"code": -signal.SIGKILL}
