"""The faults `cpu_squeeze` and `memory_squeeze`: a server's container gets less of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from msgspec.structs import replace

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.faults.server_termination import EngineKill, Restarter, engine_missed
from chaos.outside.injector import (
    CONTAINERS,
    SERVER,
    TRIGGER_ON,
    DueInjection,
    OutsideKind,
    TargetNotRunning,
    TargetNotVisible,
    duration_s,
)
from chaos.outside.server_targets import ContainerServer, ContainerTarget
from history.events import OUT_OF_MEMORY, SERVER_SERVICE, ContainerAction
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import CpuReturned, CpuSqueezed, Ended, Serves
from history.records import FaultRecord

NS_PER_S = 1_000_000_000
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
        """Set the quota of the container. Raises TargetNotRunning."""
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
        """Restore the quota of before."""
        self._reverting = True
        if self._before is None:
            return
        period, quota = self._before
        self._server.container.update(cpu_period=period or PERIOD_US, cpu_quota=quota or NO_QUOTA)

    def reverted(self) -> CpuReturned | None:
        """The quota that the engine reports after `revert`; None while it is still the fault's."""
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
    """Limits the server's memory to its usage plus `room_mib`, and starts a process there that takes more.

    The kernel then kills the largest process of the container, which leaves a server without its engine.
    """

    def __init__(self, injection: DueInjection, server: ContainerServer, restarter: Restarter) -> None:
        super().__init__(injection, ContainerTarget(server, restarter), restarter)
        self._server = server
        self._limits: _MemoryLimits | None = None
        """The limits before the injection."""
        self._there: set[int] = set()

    def apply(self) -> None:
        """Lower the memory limit and start the process that exceeds it. Raises TargetNotVisible."""
        self._begin()
        self._there = self._pids()
        if not self._there:
            raise TargetNotVisible("this machine does not show the processes of the server's container")
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
        """Restore the memory limit, then restart the server."""
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


SETTLE_NS = 500_000_000
"""What the server had done before still comes in for so long."""
SLOWER = 0.8
"""Tokens a second while the server is squeezed, as a share of those before: less than this."""
LEAST_NS = NS_PER_S
"""A rate is taken of no shorter time."""


def _slower(case: FiredFault) -> Doubt | None:
    """Tokens came more slowly than before in the same phase."""
    times_ns = sorted(case.tokens_ns())
    for line in case.fired:
        during = case.window(line)
        before_ns = [t_ns for t_ns in times_ns if t_ns < during.begin_ns]
        if during.end_ns is None:
            return case.doubt("strike-unseen", f"no line has the end of the injection at invocation {line.n}")
        begin_ns = during.begin_ns + SETTLE_NS
        if not before_ns or during.begin_ns - before_ns[0] < LEAST_NS or during.end_ns - begin_ns < LEAST_NS:
            return case.doubt("too-little-time", "the injection was too short to measure the token rate")
        usual = _rate(before_ns, before_ns[0], during.begin_ns)
        squeezed = _rate(times_ns, begin_ns, during.end_ns)
        if squeezed > SLOWER * usual:
            return case.doubt(
                "not-slower",
                f"the server sent {squeezed:.0f} tokens/s meanwhile and {usual:.0f} before",
                {"meanwhile": squeezed, "before": usual},
            )
    return None


def _rate(times_ns: Sequence[int], begin_ns: int, end_ns: int) -> float:
    """Tokens per second within these times."""
    within = sum(begin_ns <= t_ns <= end_ns for t_ns in times_ns)
    return within * NS_PER_S / (end_ns - begin_ns)


def _starved(case: FiredFault) -> Doubt | None:
    """Require that the container engine reports an out-of-memory kill, and that a request failed."""
    for line in case.fired:
        if not _oom(case, line):
            return case.doubt(
                "not-out-of-memory",
                "the container engine reports no process that was ended for lack of memory",
            )
    return engine_missed(case)


def _oom(case: FiredFault, line: FaultRecord) -> bool:
    outage = next((one for one in case.outages() if one.cause == line), None)
    if outage is None:
        return False
    return any(
        event.data.service == SERVER_SERVICE
        and event.data.action == OUT_OF_MEMORY
        and outage.covers(event.data.at_ns, event.data.at_ns)
        for event in case.history.events_of(ContainerAction)
    )


FAULTS = (
    OutsideKind(
        name="cpu_squeeze",
        target=SERVER,
        contract=CONFORMING,
        effect="the server gets a part of the processors",
        evidence="periods in which the kernel throttled it",
        consequence="the token rate decreases",
        heals="when the limit is restored",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(10.0, "until the limit is removed"),
            "cpus": Parameter(0.3, 0.01, 1000, about="processors that it gets"),
        },
        stacks=CONTAINERS,
        firing=CpuSqueezed,
        reverted=CpuReturned,
        inject=lambda injection, target: CpuLimit(injection, target.server),
        check=_slower,
        silences=False,
    ),
    OutsideKind(
        name="memory_squeeze",
        target=SERVER,
        contract=CONFORMING,
        effect="memory is limited to its usage plus room_mib, and a process in the container takes more",
        evidence="the limit, and which of its processes have ended",
        consequence="the kernel ends the largest process; the server ends, or /health reports the failure",
        heals="when the limit is restored, and the next incarnation of the server serves",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(20.0, "until it is restarted"),
            "room_mib": Parameter(64, 16, 65536, about="MiB above its usage that it may take"),
        },
        stacks=CONTAINERS,
        firing=Ended,
        reverted=Serves,
        inject=lambda injection, target: MemoryLimit(injection, target.server, target.restarter),
        check=_starved,
        lethal=True,
    ),
)
