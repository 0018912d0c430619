"""What is said of a server that cannot be started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.stacks.local_stack import (
    LocalStack,
    choose_port,
)
from kvchaos.stacks.server_command import Launch
from kvchaos.stacks.stack import ServerStartFailed
from tests.unit.stacks.test_stack_local import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(tmp_path)) as made:
        yield made


def test_server_crash_at_start_shows_exit_code_and_log(bench: Bench) -> None:
    stack = bench.make("--exit", "3")
    stack.start()
    with pytest.raises(
        ServerStartFailed, match=r"died before it was ready \(exit code 3\).*no more blocks"
    ) as caught:
        stack.wait_ready(30)
    assert caught.value.exit_code == 3
    assert caught.value.tail == ("children run", "RuntimeError: no more blocks")


def test_server_that_never_gets_ready_is_still_ended(bench: Bench) -> None:
    stack = bench.start("--mute")
    with pytest.raises(ServerStartFailed, match=r"was not ready after 0\.5 s") as caught:
        stack.wait_ready(0.5)
    assert caught.value.exit_code is None
    assert stack.alive()
    stack.stop(grace_s=0.2)
    assert bench.running() == []


def test_a_missing_interpreter_is_one_line(bench: Bench) -> None:
    stack = LocalStack(Launch(("/nowhere/python",), {}, 1), bench.folders, bench.run_dir, bench.record)
    with pytest.raises(UsageError, match=r"/nowhere/python: cannot be run; .*kvchaos server list"):
        stack.start()


def test_a_server_that_runs_is_not_started_again(bench: Bench) -> None:
    stack = bench.start()
    with pytest.raises(RuntimeError, match="the server runs"):
        stack.start()
    assert len(bench.running()) == 3


def test_a_busy_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(
            UsageError, match=f"port {port} is in use: choose another with --port or leave it out"
        ):
            choose_port(port)
    assert choose_port(port) == port
