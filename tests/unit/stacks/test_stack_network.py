"""The network's proxy of a run is recorded while it runs, passes the load on, and is gone afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from chaos.outside.network.proxy_control import CutCommand
from kvchaos.errors import UsageError
from kvchaos.stacks.network import proxy_before
from kvchaos.stacks.process_registry import ProcessRegistry, RunState
from loadtests.mock.mock_process import MockServer, Settings
from tests.support.fake_server_runs import runs, wait_for
from tests.support.proxied_server import ProxiedClient


@pytest.fixture
def record(tmp_path: Path) -> ProcessRegistry:
    return ProcessRegistry(tmp_path / "state", run_id="r", run_dir=tmp_path, control_dir=tmp_path / "control")


def recorded(record: ProcessRegistry) -> RunState:
    return msgspec.json.decode(record.path.read_bytes(), type=RunState)


def test_load_passes_the_proxy_and_its_process_is_recorded(record: ProcessRegistry, tmp_path: Path) -> None:
    with MockServer(Settings(), tmp_path / "sent.jsonl") as mock:
        with proxy_before(mock.url, tmp_path, record) as network:
            (group,) = recorded(record).groups
            assert (group.what, runs(group.leader)) == ("network", True)
            assert network.url != mock.url
            assert [each.outcome for each in ProxiedClient(network.url).complete("a")] == ["ok"]
            network.handle.send(CutCommand(strike="s"))
            assert [each.outcome for each in ProxiedClient(network.url).complete("b")] == ["error"]
            assert network.failure() is None
        assert recorded(record).groups == ()
        assert not runs(group.leader)


def test_proxy_crash_is_one_line(record: ProcessRegistry, tmp_path: Path) -> None:
    with proxy_before("http://127.0.0.1:9", tmp_path, record) as network:
        (group,) = recorded(record).groups
        os.kill(group.leader, signal.SIGKILL)
        wait_for(lambda: network.failure() is not None)
        failure = network.failure() or ""
        assert "code -9" in failure
        assert "network.log" in failure
    assert recorded(record).groups == ()


def test_a_command_to_a_dead_proxy_ends_the_run_with_one_line(
    record: ProcessRegistry, tmp_path: Path
) -> None:
    def command_the_dead() -> None:
        with proxy_before("http://127.0.0.1:9", tmp_path, record) as network:
            os.kill(recorded(record).groups[0].leader, signal.SIGKILL)
            wait_for(lambda: network.failure() is not None)
            network.handle.send(CutCommand(strike="s"))

    with pytest.raises(UsageError, match=r"proxy.*\.log"):
        command_the_dead()


def test_hanging_proxy_is_killed(record: ProcessRegistry, tmp_path: Path) -> None:
    with proxy_before("http://127.0.0.1:9", tmp_path, record):
        leader = recorded(record).groups[0].leader
        os.kill(leader, signal.SIGSTOP)
    assert not runs(leader)
    assert recorded(record).groups == ()
