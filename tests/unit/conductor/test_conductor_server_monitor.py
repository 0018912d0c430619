"""A dead or stalled server must be seen soon, and a busy one left alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import pytest

from kvchaos.conductor.server_monitor import ServerMonitor
from kvchaos.stacks.stack import Stack
from loadtests.messages import Progress

STALL_S = 15.0


@dataclass
class FakeServer:
    """As much of a stack as is watched."""

    code: int | None = None
    observed: int = 0
    looks: int = 0
    dies_at_look: int | None = None

    def exit_code(self) -> int | None:
        return self.code

    def alive(self) -> bool:
        self.looks += 1
        if self.looks == self.dies_at_look:
            self.code = -9
        return self.code is None

    def observe(self) -> None:
        self.observed += 1


def watching(stack: FakeServer) -> ServerMonitor:
    return ServerMonitor(cast(Stack, stack), STALL_S)


def progress(in_flight: int, age_s: float) -> Progress:
    return Progress(
        phase="load",
        sent=10,
        ok=10 - in_flight,
        failed=0,
        aborted=0,
        in_flight=in_flight,
        tokens=100,
        last_token_age_s=age_s,
    )


def test_working_server_is_no_stall() -> None:
    assert watching(FakeServer()).check(progress(4, 1.0)) is None


def test_silence_up_to_the_limit_is_no_stall() -> None:
    assert watching(FakeServer()).check(progress(4, STALL_S)) is None


def test_idle_server_is_no_stall() -> None:
    assert watching(FakeServer()).check(progress(0, 100.0)) is None


def test_requests_without_a_token_for_too_long_are_a_stall() -> None:
    trouble = watching(FakeServer()).check(progress(4, 15.1))
    assert trouble is not None
    assert (trouble.reason, trouble.exit_code, trouble.seconds) == ("stalled", None, 15.1)


@pytest.mark.parametrize("code", [0, 1, -9])
@pytest.mark.parametrize("in_flight", [0, 4])
def test_exited_server_is_reported_dead_and_not_stalled(code: int, in_flight: int) -> None:
    trouble = watching(FakeServer(code)).check(progress(in_flight, 100.0))
    assert trouble is not None
    assert (trouble.reason, trouble.exit_code) == ("server-dead", code)


def test_process_record_is_refreshed_at_most_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stack = FakeServer()
    watched = watching(stack)
    counts = []
    for step in (0.0, 0.1, 0.5, 0.3, 0.2, 0.9):
        now += step
        watched.observe()
        counts.append(stack.observed)
    assert counts == [1, 1, 1, 1, 2, 2]


def test_wait_for_a_server_exit_ends_at_the_exit() -> None:
    stack = FakeServer(dies_at_look=2)
    began = time.monotonic()
    watching(stack).wait_for_exit(1000.0)
    assert stack.code == -9
    assert time.monotonic() - began < 100.0


def test_wait_for_a_server_exit_is_bounded() -> None:
    stack = FakeServer()
    watching(stack).wait_for_exit(0.05)
    assert stack.code is None
    assert stack.looks >= 2
