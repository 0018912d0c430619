"""The proxy: all proxied connections, and the active impairments.

A proxied connection is a client's and one of the proxy's to the server, with the pipes between them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from chaos.outside.network import proxy_control
from chaos.outside.network.http_message_tracker import HttpMessageTracker
from chaos.outside.network.impairments import (
    DOWN,
    UP,
    AddedLatency,
    Counters,
    CutImpairment,
    Impairment,
    Loss,
    SlowReading,
    TrafficStall,
)
from chaos.outside.network.pipe import Endpoint, Marker, Pipe, reset
from chaos.outside.network.proxy_control import ProxyCommand, ProxyEffect, ProxyEvent, ProxyReport

SMALL_BUFFER = 4096
SMALL_SEGMENT = 536
"""Segment size of a slow reader's connection, bytes: else the kernels would buffer a whole answer."""

Address = tuple[str, int]


class ProxiedConnection:
    """Carries one request after the other."""

    def __init__(self, registry: Proxy, server: Address) -> None:
        self._registry = registry
        self._server = server
        self._http_messages = HttpMessageTracker(self._begins)
        self._up = Pipe(UP, registry.in_force, self._passed)
        self._down = Pipe(DOWN, registry.in_force, self._passed_down)
        self._client: Endpoint | None = None
        self._upstream: Endpoint | None = None
        self._slow: SlowReading | None = None
        """Slow reading of the client for whom the connection to the server was made."""
        self._connecting: asyncio.Task[None] | None = None
        self._ended = 0
        """Pipes that have ended."""
        self._over = False

    @property
    def open(self) -> str | None:
        """Id of the request in flight; empty when it has none, None when no request is in flight."""
        return self._http_messages.open

    @property
    def pipes(self) -> tuple[Pipe, Pipe]:
        """Both directions, first the one to the server."""
        return self._up, self._down

    def accept(self) -> Endpoint:
        """The client's endpoint, for a new connection."""
        self._client = Endpoint(self._up, self._down, self._from_client, self._lost)
        self._connect()
        return self._client

    def cut(self) -> int:
        """Reset both connections; returns the bytes lost in the pipes."""
        lost = sum(pipe.drop() for pipe in self.pipes)
        self._close(reset=True)
        return lost

    def queue(self, counters: Counters) -> None:
        """Count the queued chunks as delayed by this impairment too."""
        for pipe in self.pipes:
            pipe.queue(counters, self.open)

    def revert(self, impairment: Impairment) -> None:
        """End what an impairment does to this connection."""
        if impairment is self._slow and self._upstream is not None:
            self._upstream.read_at_will()
        for pipe in self.pipes:
            pipe.pump()

    def _begins(self, name: str) -> None:
        slow = self._registry.begins(name)
        if slow is not self._slow:
            # No answer is on its way, so that to the server this client leaves and another one comes.
            self._slow = slow
            if self._upstream is not None:
                self._upstream.leave()
            self._connect()

    def _from_client(self, what: bytes | Marker) -> None:
        if isinstance(what, bytes):
            self._http_messages.request_bytes(what)
        self._up.take(what, self.open)

    def _answered(self, what: bytes | Marker) -> None:
        self._down.take(what, self.open)

    def _passed(self, what: bytes | Marker) -> None:
        if what is Marker.END:
            self._ended += 1
            if self._ended == len(self.pipes):
                self._close(reset=False)

    def _passed_down(self, what: bytes | Marker) -> None:
        if isinstance(what, bytes):
            self._http_messages.response_bytes(what)
        self._passed(what)

    def _connect(self) -> None:
        self._upstream = self._up.sink = self._down.source = None
        if self._connecting is not None:
            self._connecting.cancel()
        self._connecting = asyncio.get_running_loop().create_task(self._reach_server(self._slow))

    async def _reach_server(self, slow: SlowReading | None) -> None:
        loop = asyncio.get_running_loop()
        connection = _connection(slow)
        try:
            await loop.sock_connect(connection, self._server)
        except asyncio.CancelledError:
            connection.close()
            raise
        except OSError:
            # To the client a server that is down looks as if it had hung up.
            connection.close()
            self._close(reset=True)
            return
        end = Endpoint(self._down, self._up, self._answered, self._lost, slow)
        await loop.create_connection(lambda: end, sock=connection)
        self._upstream = end

    def _lost(self, end: Endpoint) -> None:
        """An end is gone. One that was reset from outside still has to tell the other."""
        others = [each for each in (self._client, self._upstream) if each is not None and not each.gone]
        if end in (self._client, self._upstream) and not (end.was_reset and others):
            self._close(reset=False)

    def _close(self, *, reset: bool) -> None:
        if self._over:
            return
        self._over = True
        if self._connecting is not None:
            self._connecting.cancel()
        for end in (self._client, self._upstream):
            if end is not None and reset:
                end.reset()
            elif end is not None:
                end.leave()
        self._registry.closed(self)


def _connection(slow: SlowReading | None) -> socket.socket:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if slow is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
    return connection


Timestamps = tuple[int, int]
"""Wall clock and monotonic clock, ns."""


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
        """Forget a connection that has ended."""
        self._connections.discard(proxied)

    def execute(self, command: ProxyCommand) -> None:
        """Begin or revert an impairment."""
        if isinstance(command, proxy_control.RevertCommand):
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
        self._write_report(proxy_control.report(event, strike, effect, *timestamps))


def _now() -> Timestamps:
    return time.time_ns(), time.monotonic_ns()


class _RefusedConnection(asyncio.Protocol):
    """A connection that is reset as soon as it is accepted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset(transport)


def _impairment(command: ProxyCommand) -> Impairment:
    counters = Counters(command.strike, time.monotonic())
    match command:
        case proxy_control.CutCommand():
            return CutImpairment(counters)
        case proxy_control.StallCommand():
            return TrafficStall(counters)
        case proxy_control.DelayCommand(seed=seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms):
            return AddedLatency(counters, seed, up_ms, down_ms, jitter_ms)
        case proxy_control.LoseCommand(seed=seed, share=share, again_ms=again_ms):
            return Loss(counters, seed, share, again_ms)
        case proxy_control.ReadSlowlyCommand(requests=requests, bytes_per_s=bytes_per_s):
            return SlowReading(counters, requests, bytes_per_s)
        case proxy_control.RevertCommand():
            raise ValueError(command)
