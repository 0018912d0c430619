"""A client's connection and the proxy's own to the server, with what passes between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

from chaos.outside.network.end import End
from chaos.outside.network.exchanges import Exchanges
from chaos.outside.network.impairments import DOWN, UP, Impairment, SlowReading, Tally
from chaos.outside.network.way import Mark, Way

SMALL_BUFFER = 4096
SMALL_SEGMENT = 536
"""Of a slow reader's connection, bytes: else the kernels of both sides would take a whole answer."""

Address = tuple[str, int]


class Links(Protocol):
    """Who has all links."""

    @property
    def in_force(self) -> Sequence[Impairment]: ...

    def begins(self, name: str) -> SlowReading | None:
        """A request begins; the fault by which its answer is read slowly, if one does."""
        ...

    def closed(self, link: Link) -> None: ...


class Link:
    """Carries one request after the other."""

    def __init__(self, links: Links, server: Address) -> None:
        self._links = links
        self._server = server
        self._exchanges = Exchanges(self._begins)
        self._up = Way(UP, links.in_force, self._passed)
        self._down = Way(DOWN, links.in_force, self._passed_down)
        self._client: End | None = None
        self._upstream: End | None = None
        self._slow: SlowReading | None = None
        """For whom the connection to the server was made."""
        self._connecting: asyncio.Task[None] | None = None
        self._ended = 0
        """Ways that are at their end."""
        self._over = False

    @property
    def open(self) -> str | None:
        """The request that is on its way over this link; empty when it has no name."""
        return self._exchanges.open

    @property
    def ways(self) -> tuple[Way, Way]:
        return self._up, self._down

    def accept(self) -> End:
        """The client's end, for a connection that has just come."""
        self._client = End(self._up, self._down, self._asked, self._lost)
        self._connect()
        return self._client

    def cut(self) -> int:
        """Break both connections off; how many bytes were lost on the way."""
        lost = sum(way.drop() for way in self.ways)
        self._close(reset=True)
        return lost

    def hold(self, tally: Tally) -> None:
        """What is on its way waits for this, too."""
        for way in self.ways:
            way.hold(tally, self.open)

    def relieve(self, impairment: Impairment) -> None:
        """It is over."""
        if impairment is self._slow and self._upstream is not None:
            self._upstream.read_at_will()
        for way in self.ways:
            way.pump()

    def _begins(self, name: str) -> None:
        slow = self._links.begins(name)
        if slow is not self._slow:
            # No answer is on its way, so that to the server this client leaves and another one comes.
            self._slow = slow
            if self._upstream is not None:
                self._upstream.leave()
            self._connect()

    def _asked(self, what: bytes | Mark) -> None:
        if isinstance(what, bytes):
            self._exchanges.asked(what)
        self._up.take(what, self.open)

    def _answered(self, what: bytes | Mark) -> None:
        self._down.take(what, self.open)

    def _passed(self, what: bytes | Mark) -> None:
        if what is Mark.END:
            self._ended += 1
            if self._ended == len(self.ways):
                self._close(reset=False)

    def _passed_down(self, what: bytes | Mark) -> None:
        if isinstance(what, bytes):
            self._exchanges.answered(what)
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
        end = End(self._down, self._up, self._answered, self._lost, slow)
        await loop.create_connection(lambda: end, sock=connection)
        self._upstream = end

    def _lost(self, end: End) -> None:
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
        self._links.closed(self)


def _connection(slow: SlowReading | None) -> socket.socket:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if slow is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
    return connection
