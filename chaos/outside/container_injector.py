"""Faults on a server in a container: through the engine that runs it, never past it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, cast

from docker.errors import APIError
from docker.models.containers import Container
from msgspec.structs import replace

from chaos.outside.injector import ActiveFault, DueInjection, TargetNotRunning, TargetNotVisible
from chaos.outside.process_injector import Engine, HasProcesses, ServerProcess
from chaos.outside.server_termination import TERMINATIONS, EngineKill, Restarter
from history.protocol.outside import Continued, CpuReturned, CpuSqueezed, Ended, Paused, Serves


class ContainerServer(HasProcesses, Protocol):
    """A server and its container, which is the same for all incarnations."""

    @property
    def container(self) -> Container: ...

    def alive(self) -> bool:
        """Whether the container runs; a paused one does. Its attributes are fresh afterwards."""
        ...

    def exit_code(self) -> int | None:
        """Of this incarnation, negative for a signal; None while it runs."""
        ...

    def processes(self) -> Sequence[ServerProcess]:
        """Those of the container, by their ids on this machine; empty when they cannot be seen."""
        ...

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them; to nobody when it is gone."""
        ...


class ContainerTarget:
    """See `chaos.outside.server_termination.TerminableServer`."""

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._engine = Engine(server)

    def runs(self) -> bool:
        return self._server.alive()

    def identity(self) -> Ended:
        container = self._server.container
        return Ended(
            pid=container.attrs["State"]["Pid"],
            pids=[process.pid for process in self._server.processes()],
            container=container.short_id,
        )

    def send(self, which: signal.Signals) -> None:
        try:
            self._server.container.kill(which.name)
        except APIError as error:
            if error.status_code not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise

    def kill_engine(self) -> Sequence[int]:
        return self._engine.kill()

    def engine_gone(self) -> bool:
        return self._engine.gone()

    def ended(self) -> int | None:
        return self._server.exit_code()


PAUSED = "paused"


class ContainerPause:
    """All processes paused by the kernel's freezer: they receive no signal until they resume.

    See `chaos.outside.injector.ActiveFault`.
    """

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._resuming = False

    def apply(self) -> None:
        if not self._server.alive():
            raise TargetNotRunning("the server does not run")
        self._server.container.pause()

    def verify(self) -> Paused | None:
        """The Docker engine reports the status."""
        if self._resuming or self._status() != PAUSED:
            return None
        return Paused(container=self._server.container.short_id, status=PAUSED)

    def revert(self) -> None:
        self._resuming = True
        try:
            self._server.container.unpause()
        except APIError as error:
            # It was not paused, or is gone: nothing stands still any more. Older engines answer 500.
            if error.status_code == HTTPStatus.NOT_FOUND:
                return
            if self._status() == PAUSED:
                raise

    def reverted(self) -> Continued | None:
        status = self._status()
        return None if not self._resuming or status == PAUSED else Continued(status=status)

    def _status(self) -> str:
        container = self._server.container
        container.reload()
        status: str = container.status
        return status


PERIOD_US = 100_000
NO_QUOTA = -1
MIB = 1 << 20
BALLAST_ROOMS = 4
BALLAST = "import sys, time\nheld = bytearray(b'x') * int(sys.argv[1])\ntime.sleep(float(sys.argv[2]))"
"""Takes so many bytes for so many seconds."""


class CpuLimit:
    """The server gets part of a CPU; see `chaos.outside.injector.ActiveFault`."""

    def __init__(self, injection: DueInjection, server: ContainerServer) -> None:
        self._server = server
        self._quota = round(float(injection.params["cpus"]) * PERIOD_US)
        self._before: tuple[int, int] | None = None
        self._throttled = 0
        self._reverting = False

    def apply(self) -> None:
        if not self._server.alive():
            raise TargetNotRunning("the server does not run")
        self._throttled = self._throttled_periods()
        self._before = self._limits()
        self._server.container.update(cpu_period=PERIOD_US, cpu_quota=self._quota)

    def verify(self) -> CpuSqueezed | None:
        """The kernel has throttled it since."""
        if self._reverting or not self._server.alive():
            return None
        times = self._throttled_periods() - self._throttled
        if times <= 0 or self._limits() != (PERIOD_US, self._quota):
            return None
        return CpuSqueezed(cpus=self._quota / PERIOD_US, throttled_periods=times)

    def revert(self) -> None:
        self._reverting = True
        if self._before is None:
            return
        period, quota = self._before
        self._server.container.update(cpu_period=period or PERIOD_US, cpu_quota=quota or NO_QUOTA)

    def reverted(self) -> CpuReturned | None:
        if not self._reverting:
            return None
        self._server.container.reload()
        _, quota = self._limits()
        return CpuReturned(quota_us=quota) if self._before is None or quota != self._quota else None

    def _limits(self) -> tuple[int, int]:
        """Period and quota, us."""
        limits: Mapping[str, int] = self._server.container.attrs["HostConfig"]
        return limits["CpuPeriod"], limits["CpuQuota"]

    def _throttled_periods(self) -> int:
        throttling = _stats(self._server)["cpu_stats"]["throttling_data"]
        periods: int = throttling["throttled_periods"]
        return periods


class MemoryLimit(EngineKill):
    """Limits the server's memory to its usage plus `room_mib`, and starts a process in its container that
    takes more: the kernel kills the largest process there, which leaves a server without its engine."""

    def __init__(self, injection: DueInjection, server: ContainerServer, restarter: Restarter) -> None:
        super().__init__(injection, ContainerTarget(server), restarter)
        self._server = server
        self._limits: _MemoryLimits | None = None
        """As they were before."""
        self._there: set[int] = set()

    def apply(self) -> None:
        self._begin()
        self._there = self._pids()
        if not self._there:
            raise TargetNotVisible("the processes of the server's container are not to be seen from here")
        room = round(float(self._injection.params["room_mib"]) * MIB)
        used = _used(_stats(self._server)["memory_stats"])
        self._limits = _MemoryLimits.of(self._server)
        _MemoryLimits(used + room, used + room).set(self._server)
        self._before = replace(self._before, used_mib=used // MIB, limit_mib=(used + room) // MIB)
        seconds = str(self._injection.params["duration_s"])
        command = ["python3", "-c", BALLAST, str(BALLAST_ROOMS * room), seconds]
        self._server.container.exec_run(command, detach=True)

    def verify(self) -> Ended | None:
        """A process of the server is gone, and no signal of ours ended it."""
        gone = self._there - self._pids()
        return replace(self._before, gone=sorted(gone)) if gone else None

    def revert(self) -> None:
        super().revert()
        if self._limits is not None:
            self._limits.set(self._server)
            self._limits = None

    def reverted(self) -> Serves | None:
        """A server that lost no process needs no restart."""
        if not self._restarted and self._there <= self._pids():
            return Serves(gone=[])
        return super().reverted()

    def _pids(self) -> set[int]:
        return {process.pid for process in self._server.processes()}


@dataclass(frozen=True)
class _MemoryLimits:
    """Bytes, without and with swap; 0 for no limit."""

    memory: int
    with_swap: int

    @classmethod
    def of(cls, server: ContainerServer) -> _MemoryLimits:
        limits: Mapping[str, int] = server.container.attrs["HostConfig"]
        return cls(limits["Memory"], limits["MemorySwap"])

    def set(self, server: ContainerServer) -> None:
        server.container.update(mem_limit=self.memory, memswap_limit=self.with_swap)


def _stats(server: ContainerServer) -> dict[str, Any]:
    """The container's statistics from the Docker engine."""
    return cast(dict[str, Any], server.container.stats(stream=False, one_shot=True))


def _used(memory: Mapping[str, Any]) -> int:
    """Bytes that the kernel cannot reclaim; it reclaims the page cache before it kills a process."""
    stats: Mapping[str, int] = memory["stats"]
    names = ("anon", "shmem") if "anon" in stats else ("total_rss", "total_shmem")
    return sum(stats.get(name, 0) for name in names)


class ContainerInjector:
    """Uses the Docker engine; signals single processes where they run on this machine."""

    kinds = ("pause", *TERMINATIONS, "cpu_squeeze", "memory_squeeze")

    def __init__(self, server: ContainerServer, restarter: Restarter) -> None:
        self._server = server
        self._restarter = restarter

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        match injection.kind:
            case "pause":
                return ContainerPause(self._server)
            case "cpu_squeeze":
                return CpuLimit(injection, self._server)
            case "memory_squeeze":
                return MemoryLimit(injection, self._server, self._restarter)
            case kind:
                return TERMINATIONS[kind](injection, ContainerTarget(self._server), self._restarter)
