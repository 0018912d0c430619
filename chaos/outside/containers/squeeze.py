"""A container's share of the machine is cut, by the limits that its engine sets for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from msgspec.structs import replace

from chaos.outside.containers.server import ContainerServer, ContainerTarget
from chaos.outside.ending import EngineKill, Lives
from chaos.outside.injector import NotThere, NotVisible, Strike
from history.protocol.outside import CpuReturned, CpuSqueezed, Ended, Serves

PERIOD_US = 100_000
NO_QUOTA = -1
MIB = 1 << 20
BALLAST_ROOMS = 4
BALLAST = "import sys, time\nheld = bytearray(b'x') * int(sys.argv[1])\ntime.sleep(float(sys.argv[2]))"
"""Takes so many bytes for so many seconds."""


class CpuSqueeze:
    """The server gets part of a processor, see `chaos.outside.injector.Hold`."""

    def __init__(self, strike: Strike, server: ContainerServer) -> None:
        self._server = server
        self._quota = round(float(strike.params["cpus"]) * PERIOD_US)
        self._before: tuple[int, int] | None = None
        self._throttled = 0
        self._lifting = False

    def strike(self) -> None:
        if not self._server.alive():
            raise NotThere("the server does not run")
        self._throttled = self._throttled_periods()
        self._before = self._limits()
        self._server.container.update(cpu_period=PERIOD_US, cpu_quota=self._quota)

    def proof(self) -> CpuSqueezed | None:
        """The kernel held it back since."""
        if self._lifting or not self._server.alive():
            return None
        times = self._throttled_periods() - self._throttled
        if times <= 0 or self._limits() != (PERIOD_US, self._quota):
            return None
        return CpuSqueezed(cpus=self._quota / PERIOD_US, throttled_periods=times)

    def lift(self) -> None:
        self._lifting = True
        if self._before is None:
            return
        period, quota = self._before
        self._server.container.update(cpu_period=period or PERIOD_US, cpu_quota=quota or NO_QUOTA)

    def lifted(self) -> CpuReturned | None:
        if not self._lifting:
            return None
        self._server.container.reload()
        _, quota = self._limits()
        return CpuReturned(quota_us=quota) if self._before is None or quota != self._quota else None

    def _limits(self) -> tuple[int, int]:
        """Period and quota, us."""
        limits: Mapping[str, int] = self._server.container.attrs["HostConfig"]
        return limits["CpuPeriod"], limits["CpuQuota"]

    def _throttled_periods(self) -> int:
        told = _stats(self._server)["cpu_stats"]["throttling_data"]
        periods: int = told["throttled_periods"]
        return periods


class MemorySqueeze(EngineKill):
    """The server's memory is limited to what it has and a little more, and a neighbour in its container takes
    more than that: the kernel ends the largest process there, which leaves a server without its engine."""

    def __init__(self, strike: Strike, server: ContainerServer, lives: Lives) -> None:
        super().__init__(strike, ContainerTarget(server), lives)
        self._server = server
        self._limits: _MemoryLimits | None = None
        """As they were before."""
        self._there: set[int] = set()

    def strike(self) -> None:
        self._begin()
        self._there = self._pids()
        if not self._there:
            raise NotVisible("the processes of the server's container are not to be seen from here")
        room = round(float(self._strike.params["room_mib"]) * MIB)
        used = _used(_stats(self._server)["memory_stats"])
        self._limits = _MemoryLimits.of(self._server)
        _MemoryLimits(used + room, used + room).set(self._server)
        self._before = replace(self._before, used_mib=used // MIB, limit_mib=(used + room) // MIB)
        seconds = str(self._strike.params["for_s"])
        command = ["python3", "-c", BALLAST, str(BALLAST_ROOMS * room), seconds]
        self._server.container.exec_run(command, detach=True)

    def proof(self) -> Ended | None:
        """A process of the server is gone, and no signal of ours ended it."""
        gone = self._there - self._pids()
        return replace(self._before, gone=sorted(gone)) if gone else None

    def lift(self) -> None:
        super().lift()
        if self._limits is not None:
            self._limits.set(self._server)
            self._limits = None

    def lifted(self) -> Serves | None:
        """A server that nobody was taken from lives on."""
        if not self._renewed and self._there <= self._pids():
            return Serves(gone=[])
        return super().lifted()

    def _pids(self) -> set[int]:
        return {process.pid for process in self._server.processes()}


@dataclass(frozen=True)
class _MemoryLimits:
    """Bytes, without and with what is swapped out; 0 for none."""

    memory: int
    with_swap: int

    @classmethod
    def of(cls, server: ContainerServer) -> _MemoryLimits:
        limits: Mapping[str, int] = server.container.attrs["HostConfig"]
        return cls(limits["Memory"], limits["MemorySwap"])

    def set(self, server: ContainerServer) -> None:
        server.container.update(mem_limit=self.memory, memswap_limit=self.with_swap)


def _stats(server: ContainerServer) -> dict[str, Any]:
    """What the engine has counted of it until now."""
    return cast(dict[str, Any], server.container.stats(stream=False, one_shot=True))


def _used(memory: Mapping[str, Any]) -> int:
    """Bytes that cannot be had back: what is held of files can, and is, before the kernel ends anybody."""
    stats: Mapping[str, int] = memory["stats"]
    names = ("anon", "shmem") if "anon" in stats else ("total_rss", "total_shmem")
    return sum(stats.get(name, 0) for name in names)
