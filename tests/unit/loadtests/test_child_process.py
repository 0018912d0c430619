"""Child processes: none outlives its block or its deadline, and their output is in the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtests.child_process import logged_child, start_with_stdin, wait_or_kill

SLEEPS = "import time; time.sleep(600)"
WITH_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])"


def test_output_and_errors_of_a_logged_child_reach_the_log(tmp_path: Path) -> None:
    script = "import sys, os; print(os.environ['GIVEN'], flush=True); print('bad', file=sys.stderr)"
    with (tmp_path / "log").open("wb") as log:
        environment = {"GIVEN": "good"}
        with logged_child(
            [sys.executable, "-c", script], log, cwd=tmp_path, environment=environment
        ) as child:
            assert child.wait(60.0) == 0
    assert (tmp_path / "log").read_text().split() == ["good", "bad"]


def test_logged_child_is_killed_with_its_group_at_the_end_of_the_block(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        with logged_child([sys.executable, "-c", WITH_CHILD], log, cwd=tmp_path, environment={}) as child:
            assert os.getpgid(child.pid) == child.pid
        assert child.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process of the group still runs")


def test_child_that_ends_with_its_stdin_is_not_killed() -> None:
    child = start_with_stdin([sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"])
    assert child.stdin is not None
    child.stdin.close()
    wait_or_kill(child, 60.0)
    assert child.returncode == 7


@pytest.mark.parametrize("grace_s", [0.05, -1.0])
def test_child_that_outlives_its_grace_is_killed(grace_s: float) -> None:
    child = start_with_stdin([sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL)
    wait_or_kill(child, grace_s)
    assert child.returncode == -signal.SIGKILL
    assert child.stdin is not None
    child.stdin.close()
