"""What is asked of a container's engine, and what is taken for proof."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from requests import Response

from chaos.outside.injector import COMPOSE_CPU, SERVER, ActiveFault, TargetNotRunning, TargetNotVisible
from chaos.outside.outside_kinds import TargetInjector
from chaos.outside.server_targets import ENGINE, ContainerTarget
from history.protocol.outside import Continued, CpuReturned, CpuSqueezed, Ended, Paused, Serves
from kvchaos.stacks.process_group import Process
from tests.support.fake_restarter import FakeRestarter, strike

MIB = 1 << 20


def refusal(status: int) -> APIError:
    response = Response()
    response.status_code = status
    return APIError("no", response=response)


@dataclass
class FakeContainer:
    """A container as the engine tells of it, and what it was told to do."""

    id: str = "c0ffee"
    short_id: str = "c0ffee"
    status: str = "running"
    throttled: int = 5
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    attrs: dict[str, Any] = field(
        default_factory=lambda: {
            "State": {"Pid": 40},
            "HostConfig": {
                "CpuPeriod": 0,
                "CpuQuota": 0,
                "Memory": 8192 * MIB,
                "MemorySwap": 16384 * MIB,
            },
        }
    )
    gone: bool = False
    memory: dict[str, int] = field(
        default_factory=lambda: {"total_rss": 990 * MIB, "total_shmem": 10 * MIB, "total_cache": 910 * MIB}
    )

    def reload(self) -> None:
        if self.gone:
            raise NotFound("gone", response=refusal(404).response)

    def pause(self) -> None:
        self.status = "paused"

    def unpause(self) -> None:
        self.reload()
        if self.status != "paused":
            raise refusal(500)
        self.status = "running"

    def kill(self, which: str) -> None:
        self.calls.append(("kill", which))
        if self.status == "exited":
            raise refusal(409)

    def update(self, **limits: int) -> None:
        self.calls.append(("update", limits))
        names = {
            "cpu_period": "CpuPeriod",
            "cpu_quota": "CpuQuota",
            "mem_limit": "Memory",
            "memswap_limit": "MemorySwap",
        }
        self.attrs["HostConfig"] |= {names[name]: value for name, value in limits.items()}

    def stats(self, *, stream: bool, one_shot: bool) -> dict[str, Any]:
        assert (stream, one_shot) == (False, True)
        return {
            "cpu_stats": {"throttling_data": {"throttled_periods": self.throttled}},
            "memory_stats": {"usage": 1900 * MIB, "stats": self.memory},
        }

    def exec_run(self, command: list[str], *, detach: bool) -> None:
        assert detach
        self.calls.append(("exec", command[0], command[3], command[4]))


@dataclass
class FakeServer:
    """A server in it."""

    inner: FakeContainer = field(default_factory=FakeContainer)
    code: int | None = None
    there: list[tuple[int, str]] = field(default_factory=lambda: [(40, "init"), (41, "vllm"), (42, ENGINE)])
    sent: list[tuple[int, signal.Signals]] = field(default_factory=list)

    @property
    def container(self) -> Container:
        return cast(Container, self.inner)

    def alive(self) -> bool:
        return self.code is None

    def exit_code(self) -> int | None:
        return self.code

    def processes(self) -> Sequence[Process]:
        return [Process(pid, name, state="S", group=pid, start_ticks=1) for pid, name in self.there]

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        self.sent.append((pid, which))


def prepare(
    server: FakeServer, kind: str, restarter: FakeRestarter | None = None, **params: float
) -> ActiveFault:
    target = ContainerTarget(server, restarter or FakeRestarter())
    return TargetInjector(SERVER, target, COMPOSE_CPU).prepare(strike(kind, **params))


def test_pause_evidence_and_revert_come_from_the_docker_engine() -> None:
    server = FakeServer()
    pause = prepare(server, "pause")
    assert pause.verify() is None
    pause.apply()
    assert pause.verify() == Paused(container="c0ffee", status="paused")
    assert pause.reverted() is None
    pause.revert()
    assert pause.reverted() == Continued(status="running")
    assert pause.verify() is None


def test_reverting_a_pause_is_safe_on_running_or_removed_containers() -> None:
    server = FakeServer()
    pause = prepare(server, "pause")
    pause.revert()
    pause.revert()
    server.inner.gone = True
    pause.revert()


def test_kill_ends_the_whole_container_with_its_exit_code_as_evidence() -> None:
    server = FakeServer()
    kill = prepare(server, "kill")
    kill.apply()
    assert server.inner.calls == [("kill", "SIGKILL")]
    assert kill.verify() is None
    server.code = -9
    proof = kill.verify()
    assert isinstance(proof, Ended)
    assert (proof.pid, proof.pids, proof.code) == (40, [40, 41, 42], -9)


def test_signal_to_a_stopped_container_is_ignored() -> None:
    server = FakeServer()
    stop = prepare(server, "stop", grace_s=0.0)
    stop.apply()
    server.inner.status = "exited"
    stop.verify()
    assert server.inner.calls == [("kill", "SIGTERM"), ("kill", "SIGKILL")]


def test_engine_kill_signals_the_engine_process_alone() -> None:
    server = FakeServer()
    kill = prepare(server, "engine_kill")
    kill.apply()
    assert server.sent == [(42, signal.SIGKILL)]
    assert kill.verify() is None
    server.there.pop()
    proof = kill.verify()
    assert isinstance(proof, Ended)
    assert proof.engines == [42]


@pytest.mark.parametrize("kind", ["engine_kill", "memory_squeeze"])
def test_processes_hidden_from_the_host_are_not_struck(kind: str) -> None:
    server = FakeServer(there=[])
    with pytest.raises(TargetNotVisible):
        prepare(server, kind, room_mib=64.0).apply()
    assert server.inner.calls == []


@pytest.mark.parametrize("kind", ["pause", "kill", "cpu_squeeze", "memory_squeeze"])
def test_a_server_that_has_ended_cannot_be_struck(kind: str) -> None:
    with pytest.raises(TargetNotRunning):
        prepare(FakeServer(code=0), kind, cpus=0.3, room_mib=64.0).apply()


def test_cpu_squeeze_is_proved_by_kernel_throttling() -> None:
    server = FakeServer()
    squeeze = prepare(server, "cpu_squeeze", cpus=0.3)
    squeeze.apply()
    assert server.inner.attrs["HostConfig"]["CpuQuota"] == 30_000
    assert squeeze.verify() is None
    server.inner.throttled += 4
    assert squeeze.verify() == CpuSqueezed(cpus=0.3, throttled_periods=4)
    assert squeeze.reverted() is None
    squeeze.revert()
    assert server.inner.attrs["HostConfig"]["CpuQuota"] == -1
    assert squeeze.reverted() == CpuReturned(quota_us=-1)


def test_cpu_squeeze_restores_an_earlier_cpu_limit() -> None:
    server = FakeServer()
    server.inner.attrs["HostConfig"] |= {"CpuPeriod": 50_000, "CpuQuota": 40_000}
    squeeze = prepare(server, "cpu_squeeze", cpus=0.3)
    squeeze.apply()
    squeeze.revert()
    limits = server.inner.attrs["HostConfig"]
    assert (limits["CpuPeriod"], limits["CpuQuota"]) == (50_000, 40_000)


def test_interrupted_squeeze_needs_no_revert() -> None:
    server = FakeServer()
    for kind in ("cpu_squeeze", "memory_squeeze"):
        prepare(server, kind, cpus=0.3, room_mib=64.0).revert()
    assert server.inner.calls == []


def test_memory_squeeze_sets_a_limit_near_use_and_adds_a_neighbour() -> None:
    server, restarter = FakeServer(), FakeRestarter(serves=True)
    squeeze = prepare(server, "memory_squeeze", restarter, room_mib=64.0, duration_s=20.0)
    squeeze.apply()
    limit = 1064 * MIB
    assert server.inner.calls == [
        ("update", {"mem_limit": limit, "memswap_limit": limit}),
        ("exec", "python3", str(256 * MIB), "20.0"),
    ]
    assert squeeze.verify() is None
    server.there.pop()
    proof = squeeze.verify()
    assert isinstance(proof, Ended)
    assert (proof.gone, proof.used_mib, proof.limit_mib) == ([42], 1000, 1064)
    squeeze.revert()
    limits = server.inner.attrs["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (8192 * MIB, 16384 * MIB)
    server.code, server.there = 1, []
    assert squeeze.reverted() is not None
    assert restarter.calls == ["restart"]


def test_memory_figures_are_read_from_cgroup_v2() -> None:
    server = FakeServer()
    server.inner.memory = {"anon": 800 * MIB, "shmem": 36 * MIB, "file": 700 * MIB}
    prepare(server, "memory_squeeze", room_mib=64.0).apply()
    assert server.inner.attrs["HostConfig"]["Memory"] == 900 * MIB


def test_memory_squeeze_without_a_kill_never_fired() -> None:
    server, restarter = FakeServer(), FakeRestarter()
    squeeze = prepare(server, "memory_squeeze", restarter, room_mib=64.0, duration_s=0.0)
    squeeze.apply()
    squeeze.revert()
    assert squeeze.verify() is None
    assert squeeze.reverted() == Serves(gone=[])
    assert (restarter.calls, server.inner.calls[-1][0]) == ([], "update")
