"""The proxy: all proxied connections, and the active impairments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chaos.outside.network import proxy_messages
from chaos.outside.network.endpoint import reset
from chaos.outside.network.impairments import (
    AddedLatency,
    Counters,
    CutImpairment,
    Impairment,
    Loss,
    SlowReading,
    TrafficStall,
)
from chaos.outside.network.proxied_connection import Address, ProxiedConnection
from chaos.outside.network.proxy_messages import ProxyCommand, ProxyEffect, ProxyEvent, ProxyReport

Timestamps = tuple[int, int]
"""By wall clock and monotonic clock, ns."""


class Proxy:
    """Forwards bytes between clients and one server, subject to the active impairments."""

    def __init__(self, server: Address, write_report: Callable[[ProxyReport], None]) -> None:
        self.in_force: list[Impairment] = []
        self._server = server
        self._write_report = write_report
        self._connections: set[ProxiedConnection] = set()
        self._shown: set[str] = set()

    def connection(self) -> asyncio.BaseProtocol:
        """The protocol for a new client connection."""
        for each in self.in_force:
            if isinstance(each, CutImpairment):
                each.refused += 1
                return _RefusedConnection()
        proxied = ProxiedConnection(self, self._server)
        self._connections.add(proxied)
        return proxied.accept()

    def begins(self, request: str) -> SlowReading | None:
        """A request begins; the fault by which its answer is read slowly, if one does."""
        slow = (each for each in self.in_force if isinstance(each, SlowReading))
        return next((each for each in slow if each.takes(request)), None)

    def closed(self, proxied: ProxiedConnection) -> None:
        self._connections.discard(proxied)

    def execute(self, command: ProxyCommand) -> None:
        if isinstance(command, proxy_messages.RevertCommand):
            self._revert(command.strike)
            return
        impairment = _impairment(command)
        self.in_force.append(impairment)
        impairment.begin(self._connections)
        self.poll()

    def poll(self) -> None:
        """Report the injections that have taken effect. To be called many times a second."""
        for each in self.in_force:
            strike = each.counters.strike
            if strike not in self._shown and each.has_effect():
                self._shown.add(strike)
                self._report("struck", strike, each.evidence(), _now())

    def listens(self, port: int) -> None:
        """Report the port for clients."""
        t_ns, mono_ns = _now()
        self._write_report(ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event="listens", strike=None, port=port))

    def close(self) -> None:
        """Cut everything."""
        for proxied in list(self._connections):
            proxied.cut()

    def _revert(self, strike: str) -> None:
        for each in [each for each in self.in_force if each.counters.strike == strike]:
            self.in_force.remove(each)
            lifted = _now()
            for proxied in list(self._connections):
                proxied.revert(each)
            self._report("undone", strike, each.evidence(), lifted)

    def _report(self, event: ProxyEvent, strike: str, effect: ProxyEffect, timestamps: Timestamps) -> None:
        self._write_report(proxy_messages.report(event, strike, effect, *timestamps))


def _now() -> Timestamps:
    return time.time_ns(), time.monotonic_ns()


class _RefusedConnection(asyncio.Protocol):
    """A connection that is reset as soon as it is accepted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset(transport)


def _impairment(command: ProxyCommand) -> Impairment:
    counters = Counters(command.strike, time.monotonic())
    match command:
        case proxy_messages.CutCommand():
            return CutImpairment(counters)
        case proxy_messages.StallCommand():
            return TrafficStall(counters)
        case proxy_messages.DelayCommand(seed=seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms):
            return AddedLatency(counters, seed, up_ms, down_ms, jitter_ms)
        case proxy_messages.LoseCommand(seed=seed, share=share, again_ms=again_ms):
            return Loss(counters, seed, share, again_ms)
        case proxy_messages.ReadSlowlyCommand(requests=requests, bytes_per_s=bytes_per_s):
            return SlowReading(counters, requests, bytes_per_s)
        case proxy_messages.RevertCommand():
            raise ValueError(command)
