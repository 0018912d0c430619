"""The openai client's streams: over our own connections, with events decoded directly into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

import httpx2
import openai

from loadtests.clients.event_decoder import DONE, Chunk, ErrorEvent, decode, plain_events, sizes
from loadtests.connections.connection import Connection, Pool
from loadtests.connections.response_arrivals import RxTimestamps

CONNECTION = "connection"
"""The extension of a response under which its connection is found."""


class Transport(httpx2.BaseTransport):
    """A transport to one server, in plain HTTP. Raises RequestFailure, which the openai client lets pass."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; the response's body is read as it is consumed. Raises RequestFailure."""
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
        """Close all connections."""
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    """Body of one response; the connection is free again when it is closed."""

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


class ChunkStream(openai.Stream[Chunk]):
    """Iterates over chunks. Raises the same exceptions and messages as openai.Stream, and MalformedChunk.

    Events in the form that servers send, one line of data each, take the fast path: no text, no temporary
    objects. The openai client parses anything else.
    """

    arrived_ns: int
    """When the chunk that was given last had arrived; monotonic clock."""

    def __iter__(self) -> Iterator[Chunk]:
        self._pieces = self._body()
        self._arrivals: RxTimestamps = self.response.extensions[CONNECTION].arrivals
        with ExitStack() as broken_off:
            # Also when the reader leaves in the middle: what it has not read is nobody's any more.
            broken_off.callback(self.close)
            try:
                yield from self._chunks(self._pieces)
            except ErrorEvent as error:
                raise openai.APIError(str(error), request=self.response.request, body=error.body) from error
            broken_off.pop_all()

    def _body(self) -> Iterator[bytes]:
        """The body as it arrives; httpx2 decodes it only where that is necessary."""
        if self._is_encoded() or not isinstance(self.response.stream, httpx2.SyncByteStream):
            return self.response.iter_bytes()
        return iter(self.response.stream)

    def _is_encoded(self) -> bool:
        return "content-encoding" in self.response.headers

    def drain(self) -> None:
        """Read what follows the last event: only behind the end of the body is its connection free again.

        The openai client closes the connection of every stream instead. Raises httpx2.RequestError.
        """
        for _ in self._pieces:
            continue

    def _chunks(self, pieces: Iterator[bytes]) -> Iterator[Chunk]:
        rest = b""
        for piece in pieces if not self._is_encoded() else ():
            rest += piece
            found = plain_events(rest)
            if found is None:
                break
            events, rest = found
            for data, arrived_ns in zip(events, self._arrivals.of(sizes(events)), strict=True):
                self.arrived_ns = arrived_ns
                if data.startswith(DONE):
                    return
                yield decode(data)
        # Another form, or half an event at the end of the stream.
        for data in self._parsed_by_openai(rest, pieces):
            self.arrived_ns = self._arrivals.last_ns
            if data.startswith(DONE):
                return
            yield decode(data)

    def _parsed_by_openai(self, rest: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for event in self._decoder.iter_bytes(chain([rest], pieces)):
            yield event.data.encode()
