"""Signals to a server of this machine: all its processes stand still, and go on again whatever happens."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.outside.injector import Refused, Strike
from chaos.outside.processes import ProcessInjector
from kvchaos.stacks.leftovers import clean, find_leftovers
from kvchaos.stacks.local import LocalStack
from tests.unit.test_stack_local import Bench, runs, wait_for

STRIKE = Strike("frozen", "pause", "answered", 0, {"for_s": 1.0}, seed=1)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.stack is not None:
        bench.stack.stop(grace_s=0)


def states(stack: LocalStack) -> set[str]:
    return {process.state for process in stack.processes()}


def test_a_pause_stops_every_process_and_proves_it(bench: Bench) -> None:
    stack = bench.start()
    hold = ProcessInjector(stack).hold(STRIKE)
    assert hold.proof() is None
    hold.strike()
    wait_for(lambda: hold.proof() is not None)
    proof = hold.proof()
    assert proof is not None
    pids = proof["pids"]
    assert isinstance(pids, list)
    assert set(pids) == set(bench.running())
    assert states(stack) == {"T"}
    assert hold.lifted() is None
    hold.lift()
    wait_for(lambda: hold.lifted() is not None)
    assert "T" not in states(stack)
    hold.lift()
    assert stack.alive()


def test_a_server_that_is_gone_cannot_be_paused(bench: Bench) -> None:
    stack = bench.start()
    stack.signal_all(signal.SIGKILL)
    wait_for(lambda: not stack.processes())
    with pytest.raises(Refused, match="does not run"):
        ProcessInjector(stack).hold(STRIKE).strike()


def test_the_end_of_a_paused_server_leaves_nothing_to_undo(bench: Bench) -> None:
    stack = bench.start()
    hold = ProcessInjector(stack).hold(STRIKE)
    hold.strike()
    stack.signal_all(signal.SIGKILL)
    wait_for(lambda: not stack.processes())
    hold.lift()
    assert hold.lifted() is not None


def test_a_paused_server_is_stopped_politely_and_soon(bench: Bench) -> None:
    """Nobody who stands still hears of a SIGTERM: it has to go on first."""
    stack = bench.start()
    ProcessInjector(stack).hold(STRIKE).strike()
    wait_for(lambda: states(stack) == {"T"})
    began = time.monotonic()
    stack.stop(grace_s=20)
    assert time.monotonic() - began < 10
    assert stack.exit_code() in (0, -signal.SIGTERM)


def test_a_paused_server_of_a_killed_conductor_is_ended_by_the_next_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = bench.start()
    ProcessInjector(stack).hold(STRIKE).strike()
    wait_for(lambda: states(stack) == {"T"})
    pids = bench.running()
    monkeypatch.setattr("kvchaos.stacks.leftovers._is_dead", lambda state, here, proc: True)
    (leftover,) = find_leftovers(bench.record.path.parent)
    assert clean(leftover).remaining == ()
    assert [pid for pid in pids if runs(pid)] == []
