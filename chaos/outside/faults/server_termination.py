"""The faults that end a server: kill, stop, kill of its engine. Reverted when it serves again."""

from __future__ import annotations

import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from chaos.inside.fault_kind import CONFORMING, EffectCheck, Parameter
from chaos.outside.injector import (
    EVERYWHERE,
    SERVER,
    TRIGGER_ON,
    ActiveFault,
    DueInjection,
    OutsideKind,
    TargetNotRunning,
    duration_s,
)
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import Ended, Serves


class TerminableServer(Protocol):
    """A server that can be ended, wherever it runs."""

    def runs(self) -> bool:
        """Whether any of its processes runs and is verified to be ours."""
        ...

    def identity(self) -> Ended:
        """What identifies this incarnation: `pid`, as in the event of its start, and its processes."""
        ...

    def send(self, which: signal.Signals) -> None:
        """SIGKILL to all its processes, any other signal to its leader. No-op when it is gone."""
        ...

    def kill_engine(self) -> Sequence[int]:
        """SIGKILL to its engine alone; its processes. Raises Refused when none can be found."""
        ...

    def engine_gone(self) -> bool:
        """Whether the engine that was killed has ended."""
        ...

    def ended(self) -> int | None:
        """The exit code of its leader when all of it has ended; None before."""
        ...


class Restarter(Protocol):
    """The conductor's operations for a server that a fault has ended."""

    def log_line(self) -> int:
        """How many lines the server's log has now."""
        ...

    def probe(self, where: str) -> None:
        """Send a probe, check /health, and record both in the history."""
        ...

    def restart(self) -> None:
        """Record the end of an incarnation, and start the next one."""
        ...

    def ready(self) -> Serves | None:
        """What shows that the server serves again; None as long as it does not."""
        ...


class ServerTarget(Protocol):
    """The server as a target: processes of this machine, or a container."""

    @property
    def restarter(self) -> Restarter:
        """Restarts the server after the fault."""

    def terminable(self) -> TerminableServer:
        """The server as it can be ended. Raises Refused when it cannot."""

    def pause(self) -> ActiveFault:
        """All its processes stand still until this is reverted."""
        ...


class ServerTermination:
    """The base of these faults: identifies what was ended and restarts it."""

    def __init__(self, injection: DueInjection, target: TerminableServer, restarter: Restarter) -> None:
        self._injection = injection
        self._target = target
        self._restarter = restarter
        self._before = Ended()
        self._applied_at = 0.0
        self._end: Ended | None = None
        self._reverting = False
        self._restarted = False

    def revert(self) -> None:
        """A dead server needs no reversal; only `reverted` starts a further incarnation."""
        self._reverting = True

    def reverted(self) -> Serves | None:
        """Evidence that the restarted server serves; None until then."""
        if not self._restarted:
            if self._ended() is None:
                return None
            self._restarted = True
            self._restarter.restart()
        return self._restarter.ready()

    def _begin(self) -> None:
        if not self._target.runs():
            raise TargetNotRunning("the server does not run")
        self._before = replace(self._target.identity(), log_line=self._restarter.log_line())
        self._applied_at = time.monotonic()

    def _ended(self) -> Ended | None:
        """The evidence that this incarnation has ended, kept since another one may follow."""
        if self._end is None and (code := self._target.ended()) is not None:
            seconds = round(time.monotonic() - self._applied_at, 3)
            self._end = replace(self._before, code=code, seconds=seconds)
        return self._end


class Kill(ServerTermination):
    """SIGKILL to all of the server."""

    def apply(self) -> None:
        """Send SIGKILL to all processes of the server."""
        self._begin()
        self._target.send(signal.SIGKILL)

    def verify(self) -> Ended | None:
        """All of it has ended."""
        ended = self._ended()
        return None if ended is None else replace(ended, signal="SIGKILL")


class Stop(ServerTermination):
    """SIGTERM, and SIGKILL to processes that have not ended after `grace_s`."""

    def __init__(self, injection: DueInjection, target: TerminableServer, restarter: Restarter) -> None:
        super().__init__(injection, target, restarter)
        self._forced = False

    def apply(self) -> None:
        """Send SIGTERM to the server."""
        self._begin()
        self._target.send(signal.SIGTERM)

    def verify(self) -> Ended | None:
        """All of it has ended."""
        self._force_after_grace()
        ended = self._ended()
        return None if ended is None else replace(ended, signal="SIGTERM", forced=self._forced)

    def _force_after_grace(self) -> None:
        grace_s = float(self._injection.params["grace_s"])
        if self._end is None and time.monotonic() - self._applied_at > grace_s and self._target.runs():
            self._forced = True
            self._target.send(signal.SIGKILL)


class EngineKill(ServerTermination):
    """SIGKILL to the engine; the server handles it on its own until this is reverted."""

    def __init__(self, injection: DueInjection, target: TerminableServer, restarter: Restarter) -> None:
        super().__init__(injection, target, restarter)
        self._probed = False
        self._alone_s: float | None = None

    def apply(self) -> None:
        """Kill the process of the engine, and remember its process ids."""
        self._begin()
        self._before = replace(self._before, engines=list(self._target.kill_engine()))

    def verify(self) -> Ended | None:
        """The engine has ended."""
        return replace(self._before, signal="SIGKILL") if self._target.engine_gone() else None

    def reverted(self) -> Serves | None:
        """A server that survives without its engine for the whole duration is probed and then killed."""
        seconds = time.monotonic() - self._applied_at
        if self._alone_s is None and self._ended() is not None:
            self._alone_s = seconds
        if self._alone_s is None and seconds < float(self._injection.params["duration_s"]):
            return None
        if self._alone_s is None and not self._probed:
            self._probed = True
            self._restarter.probe(f"without its engine ({self._injection.fault})")
            self._target.send(signal.SIGKILL)
        undone = super().reverted()
        if undone is None or self._alone_s is None:
            return None
        return replace(undone, outlived_its_engine=self._probed, alone_s=round(self._alone_s, 3))


IN_PIPES_NS = 250_000_000
"""What the server had sent before still comes in for so long."""


def _incarnation_ended(case: FiredFault) -> Doubt | None:
    """Require that scrapes and clients show the end of this incarnation of the server.

    Another process answers the next scrape, and this one answered no request that was in flight.
    """
    log = case.history.metrics
    for record in case.fired:
        ended = case.ending(record)
        struck_ns = None if ended is None else ended.struck_ns
        if struck_ns is None:
            return case.doubt(
                "strike-unseen", f"no line has the time of the injection at invocation {record.n}"
            )
        after = bisect_left(log.times_ns, record.t_ns)
        if after == 0 or after == len(log):
            return case.doubt("not-scraped-around", "no scrape was answered before and after it")
        if log.incarnations[after - 1] == log.incarnations[after]:
            return case.doubt("same-process", "scrapes are answered by the same process as before")
        if record.kind == "kill":
            in_flight = case.in_flight_at(struck_ns + IN_PIPES_NS)
            served = [one for one in in_flight if one.start_ns < struck_ns and one.outcome == "ok"]
            if served:
                return case.doubt(
                    "answered-all-the-same", f"request {served[0].id} was answered nevertheless"
                )
    return None


def engine_missed(case: FiredFault) -> Doubt | None:
    """A request failed that was on its way when the engine was killed, or came soon afterwards."""
    for record in case.fired:
        outage = next((one for one in case.outages() if one.cause == record), None)
        failed = (one for one in case.history.requests if one.outcome == "error")
        if outage is None or not any(outage.covers(one.start_ns, case.end_of(one)) for one in failed):
            return case.doubt("no-request-failed", "no request failed because of it")
    return None


def _ending(
    name: str,
    terminate: Callable[[DueInjection, TerminableServer, Restarter], ActiveFault],
    check: EffectCheck,
    *,
    effect: str,
    evidence: str,
    consequence: str,
    down_s: float = 0.0,
    **more: Parameter,
) -> OutsideKind:
    """A kind that a life of the server ends of."""
    return OutsideKind(
        name=name,
        target=SERVER,
        contract=CONFORMING,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals="when the next incarnation of the server serves",
        parameters={
            "trigger_on": TRIGGER_ON,
            "duration_s": duration_s(down_s, "until it is restarted"),
            **more,
        },
        stacks=EVERYWHERE,
        firing=Ended,
        reverted=Serves,
        inject=lambda injection, target: terminate(injection, target.terminable(), target.restarter),
        check=check,
        lethal=True,
    )


FAULTS = (
    _ending(
        "kill",
        Kill,
        _incarnation_ended,
        effect="SIGKILL to all processes of the server",
        evidence="processes, all ended; the exit code of their leader",
        consequence="that incarnation has ended with that code; requests in flight fail",
    ),
    _ending(
        "stop",
        Stop,
        _incarnation_ended,
        effect="SIGTERM to the server, and after grace_s SIGKILL to its processes; with duration_s 0 "
        "it is a restart",
        evidence="processes, all ended; the exit code of their leader; whether SIGKILL was needed",
        consequence="that incarnation has ended by itself; requests in flight may fail",
        grace_s=Parameter(30.0, 0, 600, about="seconds from SIGTERM to SIGKILL"),
    ),
    _ending(
        "engine_kill",
        EngineKill,
        engine_missed,
        effect="SIGKILL to the process of the engine alone",
        evidence="process of the engine, ended",
        consequence="requests fail; the server ends by itself, or /health reports the failure",
        down_s=20.0,
    ),
)
