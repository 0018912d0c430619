"""While no fault is armed the server calls vLLM's own methods; while one is, it calls the wrappers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.passthrough import Passthrough, public_methods
from tests.support.control_directory import Room, entry


class Inner:
    """Stands for one of vLLM's objects."""

    limit = 5

    def lookup(self) -> str:
        return "vLLM"

    def _private(self) -> str:
        return "private"


class Wrapper:
    """A wrapper with work that can be left over."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner
        self.left_over = False
        self.forgotten = 0

    def lookup(self) -> str:
        return "kvchaos"

    def settled(self) -> bool:
        return not self.left_over

    def forget(self) -> None:
        self.forgotten += 1


MISS = entry("miss", "lookup_miss")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path / "control") as made:
        yield made


@pytest.fixture
def runtime(room: Room) -> FaultRuntime:
    return room.start(ledger=False)


@pytest.fixture
def wrapper(runtime: FaultRuntime) -> Wrapper:
    return added(runtime)


def added(runtime: FaultRuntime) -> Wrapper:
    inner = Inner()
    wrapper = Wrapper(inner)
    runtime.add_wrapper(Passthrough(wrapper, public_methods(inner), wrapper.settled, wrapper.forget))
    return wrapper


def test_only_public_methods_are_taken_over() -> None:
    assert list(public_methods(Inner())) == ["lookup"]


def test_wrapper_is_called_until_the_first_step_has_ended(runtime: FaultRuntime, wrapper: Wrapper) -> None:
    assert wrapper.lookup() == "kvchaos"
    runtime.rest()
    assert wrapper.lookup() == "vLLM"
    assert wrapper.forgotten == 1


def test_bypassed_method_is_the_bound_method_of_vllm(runtime: FaultRuntime, wrapper: Wrapper) -> None:
    runtime.rest()
    assert wrapper.lookup == wrapper._inner.lookup


def test_arming_brings_the_wrapper_back(room: Room, runtime: FaultRuntime, wrapper: Wrapper) -> None:
    runtime.rest()
    room.arm(MISS)
    assert wrapper.lookup() == "kvchaos"
    runtime.rest()
    assert wrapper.lookup() == "kvchaos"


def test_healing_bypasses_the_wrapper_after_the_next_step(
    room: Room, runtime: FaultRuntime, wrapper: Wrapper
) -> None:
    room.arm(MISS)
    room.heal(["miss"])
    assert wrapper.lookup() == "kvchaos"
    runtime.rest()
    assert wrapper.lookup() == "vLLM"


def test_wrapper_stays_while_work_of_a_fault_is_left(runtime: FaultRuntime, wrapper: Wrapper) -> None:
    wrapper.left_over = True
    runtime.rest()
    assert wrapper.lookup() == "kvchaos"
    wrapper.left_over = False
    runtime.rest()
    assert wrapper.lookup() == "vLLM"


def test_ledger_needs_the_wrapper_always(room: Room) -> None:
    runtime = room.start(ledger=True)
    wrapper = added(runtime)
    runtime.rest()
    assert wrapper.lookup() == "kvchaos"
    assert list(room.path.glob("ledger-*"))


def test_without_a_ledger_no_file_of_it_is_written(room: Room, runtime: FaultRuntime) -> None:
    runtime.audit.tracker("copies").end(1)
    assert not list(room.path.glob("ledger-*"))


def test_idle_runtime_has_no_thread_that_polls(runtime: FaultRuntime) -> None:
    assert runtime._until_due_s() is None


def test_no_arming_is_lost_to_a_step_that_ends_meanwhile(
    room: Room, runtime: FaultRuntime, wrapper: Wrapper
) -> None:
    stop = threading.Event()

    def steps() -> None:
        while not stop.is_set():
            runtime.rest()

    server = threading.Thread(target=steps)
    server.start()
    try:
        for _ in range(20):
            room.arm(MISS)
            assert wrapper.lookup() == "kvchaos"
            room.heal(["miss"])
    finally:
        stop.set()
        server.join()
