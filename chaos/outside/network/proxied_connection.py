"""A client's connection and the proxy's connection to the server, with the pipes between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

from chaos.outside.network.endpoint import Endpoint
from chaos.outside.network.http_message_tracker import HttpMessageTracker
from chaos.outside.network.impairments import DOWN, UP, Counters, Impairment, SlowReading
from chaos.outside.network.pipe import Marker, Pipe

SMALL_BUFFER = 4096
SMALL_SEGMENT = 536
"""Of a slow reader's connection, bytes: else the kernels of both sides would take a whole answer."""

Address = tuple[str, int]


class ConnectionRegistry(Protocol):
    """The registry of all proxied connections."""

    @property
    def in_force(self) -> Sequence[Impairment]: ...

    def begins(self, name: str) -> SlowReading | None:
        """A request begins; the fault by which its answer is read slowly, if one does."""
        ...

    def closed(self, proxied: ProxiedConnection) -> None: ...


class ProxiedConnection:
    """Carries one request after the other."""

    def __init__(self, registry: ConnectionRegistry, server: Address) -> None:
        self._registry = registry
        self._server = server
        self._http_messages = HttpMessageTracker(self._begins)
        self._up = Pipe(UP, registry.in_force, self._passed)
        self._down = Pipe(DOWN, registry.in_force, self._passed_down)
        self._client: Endpoint | None = None
        self._upstream: Endpoint | None = None
        self._slow: SlowReading | None = None
        """For whom the connection to the server was made."""
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
        """It is over."""
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
