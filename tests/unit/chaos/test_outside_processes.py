"""Signals to a server of this machine: all its processes stand still, and go on again whatever happens."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.outside.injector import LOCAL, SERVER, ActiveFault, TargetNotRunning, TargetNotVisible
from chaos.outside.outside_kinds import TargetInjector
from chaos.outside.server_targets import ENGINE, LocalTarget
from history.protocol.outside import Ended, Paused, Serves
from kvchaos.stacks.local_stack import LocalStack
from kvchaos.stacks.orphans import end_and_remove, find_orphans
from tests.support.fake_restarter import FakeRestarter, strike
from tests.unit.stacks.test_stack_local import Bench, runs, wait_for


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.stack is not None:
        bench.stack.stop(grace_s=0)


def pause(stack: LocalStack) -> ActiveFault:
    return TargetInjector(SERVER, LocalTarget(stack, FakeRestarter()), LOCAL).prepare(strike("pause"))


def states(stack: LocalStack) -> set[str]:
    return {process.state for process in stack.processes()}


def test_a_pause_stops_every_process_and_proves_it(bench: Bench) -> None:
    stack = bench.start()
    active = pause(stack)
    assert active.verify() is None
    active.apply()
    wait_for(lambda: active.verify() is not None)
    proof = active.verify()
    assert isinstance(proof, Paused)
    assert set(proof.pids) == set(bench.running())
    assert states(stack) == {"T"}
    assert active.reverted() is None
    active.revert()
    wait_for(lambda: active.reverted() is not None)
    assert "T" not in states(stack)
    active.revert()
    assert stack.alive()


def test_pause_of_an_exited_server_fails(bench: Bench) -> None:
    stack = bench.start()
    stack.signal_all(signal.SIGKILL)
    wait_for(lambda: not stack.processes())
    with pytest.raises(TargetNotRunning):
        pause(stack).apply()


def test_exit_of_a_paused_server_needs_no_revert(bench: Bench) -> None:
    stack = bench.start()
    active = pause(stack)
    active.apply()
    stack.signal_all(signal.SIGKILL)
    wait_for(lambda: not stack.processes())
    active.revert()
    assert active.reverted() is not None


def test_paused_server_is_resumed_and_stopped_by_sigterm(bench: Bench) -> None:
    """Nobody who stands still hears of a SIGTERM: it has to go on first."""
    stack = bench.start()
    pause(stack).apply()
    wait_for(lambda: states(stack) == {"T"})
    began = time.monotonic()
    stack.stop(grace_s=20)
    assert time.monotonic() - began < 10
    assert stack.exit_code() in (0, -signal.SIGTERM)


def test_a_paused_server_of_a_killed_conductor_is_ended_by_the_next_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = bench.start()
    pause(stack).apply()
    wait_for(lambda: states(stack) == {"T"})
    pids = bench.running()
    monkeypatch.setattr("kvchaos.stacks.orphans._is_dead", lambda state, here, proc: True)
    (leftover,) = find_orphans(bench.record.path.parent)
    assert end_and_remove(leftover).remaining == ()
    assert [pid for pid in pids if runs(pid)] == []


def ending(stack: LocalStack, kind: str, restarter: FakeRestarter, **params: float) -> ActiveFault:
    return TargetInjector(SERVER, LocalTarget(stack, restarter), LOCAL).prepare(strike(kind, **params))


def test_a_kill_ends_every_process_and_proves_it_by_the_exit_code(bench: Bench) -> None:
    stack = bench.start()
    pids, leader = bench.running(), stack.pid
    active = ending(stack, "kill", FakeRestarter())
    active.apply()
    wait_for(lambda: active.verify() is not None)
    proof = active.verify()
    assert isinstance(proof, Ended)
    assert (proof.pid, proof.code, proof.log_line) == (leader, -signal.SIGKILL, 12)
    assert proof.pids == sorted(pids)
    assert [pid for pid in pids if runs(pid)] == []


def test_stop_by_sigterm_is_recorded_as_graceful(bench: Bench) -> None:
    active = ending(bench.start("--children", "0"), "stop", FakeRestarter(), grace_s=20.0)
    active.apply()
    wait_for(lambda: active.verify() is not None)
    proof = active.verify()
    assert isinstance(proof, Ended)
    assert (proof.forced, proof.code) == (False, -signal.SIGTERM)


def test_ignored_sigterm_is_followed_by_sigkill_and_recorded(bench: Bench) -> None:
    active = ending(bench.start("--stubborn"), "stop", FakeRestarter(), grace_s=0.3)
    active.apply()
    wait_for(lambda: active.verify() is not None)
    proof = active.verify()
    assert isinstance(proof, Ended)
    assert (proof.forced, proof.code) == (True, -signal.SIGKILL)


def test_killed_server_is_restarted_only_on_request(bench: Bench) -> None:
    """On the way out of a run nobody asks any more."""
    restarter = FakeRestarter()
    active = ending(bench.start(), "kill", restarter)
    active.apply()
    wait_for(lambda: active.verify() is not None)
    active.revert()
    assert restarter.calls == []
    assert active.reverted() is None
    assert active.reverted() is None
    assert restarter.calls == ["restart"]
    restarter.serves = True
    assert active.reverted() == Serves(pid=1)


def test_kill_of_an_exited_server_fails(bench: Bench) -> None:
    stack = bench.start()
    stack.signal_all(signal.SIGKILL)
    wait_for(lambda: not stack.processes())
    for kind in ("kill", "stop", "engine_kill"):
        with pytest.raises(TargetNotRunning):
            ending(stack, kind, FakeRestarter(), grace_s=1.0).apply()


def test_engine_kill_without_an_engine_process_fails(bench: Bench) -> None:
    with pytest.raises(TargetNotVisible):
        ending(bench.start(), "engine_kill", FakeRestarter()).apply()


def test_engine_kill_ends_the_engine_alone_then_probes_and_restarts(bench: Bench) -> None:
    restarter = FakeRestarter(serves=True)
    stack = bench.start("--engine")
    wait_for(lambda: ENGINE in {process.name for process in stack.processes()})
    (engine,) = [process.pid for process in stack.processes() if process.name == ENGINE]
    active = ending(stack, "engine_kill", restarter)
    active.apply()
    wait_for(lambda: active.verify() is not None)
    proof = active.verify()
    assert isinstance(proof, Ended)
    assert (proof.engines, proof.pid) == ([engine], stack.pid)
    assert stack.alive()
    active.revert()
    wait_for(lambda: active.reverted() is not None)
    assert [call.split()[0] for call in restarter.calls] == ["probe", "restart"]
    assert not stack.processes()
    undone = active.reverted()
    assert isinstance(undone, Serves)
    assert (undone.outlived_its_engine, undone.pid) == (True, 1)


def test_server_that_exits_after_an_engine_kill_is_not_probed(
    bench: Bench,
) -> None:
    restarter = FakeRestarter(serves=True)
    stack = bench.start("--engine")
    wait_for(lambda: ENGINE in {process.name for process in stack.processes()})
    active = ending(stack, "engine_kill", restarter, duration_s=600.0)
    active.apply()
    active.revert()
    time.sleep(0.3)
    assert active.reverted() is None
    stack.signal_all(signal.SIGTERM)
    wait_for(lambda: active.reverted() is not None)
    undone = active.reverted()
    assert isinstance(undone, Serves)
    assert (undone.outlived_its_engine, restarter.calls) == (False, ["restart"])
