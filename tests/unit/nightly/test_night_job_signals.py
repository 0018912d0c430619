"""A signal that ends a nightly job ends the command that it runs, too: no server may be left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvchaos.cli.night_job_command import run_kvchaos
from kvchaos.errors import SIGNALS
from kvchaos.polling import wait_until

COMMAND = """#!/bin/sh
trap 'touch "$(dirname "$0")/cleaned"; exit 130' TERM INT HUP
touch "$(dirname "$0")/started"
for _ in $(seq 400); do sleep 0.05; done
"""
DEADLINE_S = 10.0


@pytest.fixture(autouse=True)
def signals_not_ignored() -> Iterator[None]:
    """A shell cannot trap a signal that was ignored at its start, such as SIGINT of a background job."""
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_reaches_the_command_and_its_exit_code_comes_back(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "command"
    command.write_text(COMMAND)
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))

    def interrupt() -> None:
        wait_until((tmp_path / "started").exists, DEADLINE_S, 0.01)
        os.kill(os.getpid(), number)

    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run_kvchaos(["soak"]) == 130
    thread.join()
    assert (tmp_path / "cleaned").exists()
    assert [signal.getsignal(each) for each in SIGNALS] == before
