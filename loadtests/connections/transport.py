"""An httpx2 transport whose connections record when their bytes arrived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx2

from loadtests.connections.connection import Connection
from loadtests.connections.pool import Pool

CONNECTION = "connection"
"""The extension of a response under which its connection is found."""


class Transport(httpx2.BaseTransport):
    """To one server, in plain HTTP. Raises RequestFailed, which the openai client lets pass."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        connection = self._pool.take()
        body = _Body(connection, self._pool)
        with ExitStack() as failed:
            failed.callback(body.close)
            connection.send(_head(request) + request.read())
            status = connection.head()
            failed.pop_all()
        return httpx2.Response(
            status, headers=connection.headers, stream=body, extensions={CONNECTION: connection}
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    """Of one response; the connection is free again when it is closed."""

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self._connection = connection
        self._pool = pool
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self._connection.body()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._pool.give_back(self._connection)


def _head(request: httpx2.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"
