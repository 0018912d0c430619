"""The mock server's connections: each reads one request after the other, and has it answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from loadtests.mock import mock_response
from loadtests.mock.mock_process import SentRecord, Settings
from loadtests.mock.mock_response import CompletionParameters, MockResponse, response_plan
from loadtests.mock.response_stream import PreciseTimer, ResponseOrder, ResponseOutput, ResponseStream

LONGEST_HEAD = 64 << 10
LONGEST_BODY = 64 << 20
_bodies = msgspec.json.Decoder(CompletionParameters)


class RequestRejected(Exception):
    """The request is rejected; the connection is closed after the error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class RequestParser:
    """The requests of one connection, however their bytes are split; HTTP is parsed by llhttp."""

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._whole: deque[Incoming] = deque()
        self._rejected: RequestRejected | None = None
        self._in_head = True
        self._head_bytes = 0
        """Size of a head that is not complete yet."""
        self.on_message_begin()

    def feed(self, data: bytes) -> None:
        """Take in what has arrived. What is wrong with it is raised behind the requests before it."""
        if self._rejected is not None:
            return
        was_in_head = self._in_head
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._reject(400, f"no HTTP: {error}")
        self._head_bytes = self._head_bytes + len(data) if was_in_head and self._in_head else 0
        if self._head_bytes > LONGEST_HEAD:
            self._reject(431, "the head of the request is too long")

    def take(self) -> Incoming | None:
        """The next request; None when it is not whole yet. Raises RequestRejected."""
        if self._whole:
            return self._whole.popleft()
        if self._rejected is not None:
            raise self._rejected
        return None

    def on_message_begin(self) -> None:
        """Called by llhttp, as all that follow."""
        self._in_head = True
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        """Collect a part of the path (callback of llhttp)."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header (callback of llhttp)."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """Reject a body that is chunked or too large (callback of llhttp)."""
        self._in_head = False
        if "transfer-encoding" in self._headers:
            self._reject(411, "send the body with a Content-Length")
        elif int(self._headers.get("content-length", "0")) > LONGEST_BODY:
            self._reject(413, "the body is too long")

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body (callback of llhttp)."""
        self._body += body

    def on_message_complete(self) -> None:
        """Queue the request (callback of llhttp)."""
        if self._rejected is None:
            path = self._url.decode("latin-1").partition("?")[0]
            method = self._parser.get_method().decode("latin-1")
            self._whole.append(Incoming(method, path, self._headers, bytes(self._body)))

    def _reject(self, status: int, message: str) -> None:
        """Reject the request for the first reason; nothing after it is read."""
        self._rejected = self._rejected or RequestRejected(status, message)


def parse_parameters(body: bytes) -> CompletionParameters:
    """Raises RequestRejected."""
    try:
        return _bodies.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestRejected(400, str(error)) from error


class MockService:
    """What all connections share."""

    def __init__(self, settings: Settings, timer: PreciseTimer, log: Callable[[SentRecord], None]) -> None:
        self.settings = settings
        self.timer = timer
        self.log = log
        self.open: set[MockConnection] = set()
        self.connections = 0
        self.requests = 0

    def connect(self) -> MockConnection:
        """A protocol for one more connection, numbered from 0."""
        self.connections += 1
        return MockConnection(self, self.connections - 1)

    def close(self) -> None:
        """Drop all connections; what was under way on them is logged as left."""
        for connection in list(self.open):
            connection.drop()


class MockConnection(asyncio.Protocol):
    """Answers a request before it looks at the next."""

    def __init__(self, service: MockService, number: int) -> None:
        self._service = service
        self._number = number
        self._requests = RequestParser()
        self._stream: ResponseStream | None = None
        self._last = False
        """The client wants the connection closed behind this answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare the output; every event is sent at once."""
        self._transport = cast(asyncio.Transport, transport)
        # So that pause_writing tells of the first byte that the kernel did not take.
        self._transport.set_write_buffer_limits(high=0)
        self._service.open.add(self)
        self._output = ResponseOutput(
            timer=self._service.timer,
            send=self._transport.write,
            log=self._service.log,
            ended=self._ended,
            hang_up=self._hang_up,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response; its log line says that the client left."""
        self._service.open.discard(self)
        self._leave()

    def pause_writing(self) -> None:
        """Count that the client was too slow to take the bytes."""
        if self._stream is not None:
            self._stream.blocked += 1

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and answer the next request."""
        self._requests.feed(data)
        self._read()

    def drop(self) -> None:
        """Reset the connection."""
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.leave()

    def _ended(self) -> None:
        if self._last:
            self._hang_up()
        else:
            self._stream = None
            self._read()

    def _hang_up(self) -> None:
        self._stream = None
        self._transport.close()

    def _read(self) -> None:
        received_ns = time.monotonic_ns()
        try:
            while self._stream is None and (incoming := self._requests.take()) is not None:
                self._last = incoming.headers.get("connection", "").lower() == "close"
                self._answer(incoming, received_ns)
                if self._last and self._stream is None:
                    self._transport.close()
        except RequestRejected as refused:
            self._transport.write(
                mock_response.response(refused.status, mock_response.error(refused.status, str(refused)))
            )
            self._transport.close()

    def _answer(self, incoming: Incoming, received_ns: int) -> None:
        match incoming.method, incoming.path:
            case "GET", "/health":
                self._transport.write(mock_response.response(200, {}))
            case "GET", "/v1/models":
                self._transport.write(
                    mock_response.response(200, mock_response.models(self._service.settings.model))
                )
            case "POST", mock_response.COMPLETIONS | mock_response.CHAT:
                self._begin(incoming, parse_parameters(incoming.body), received_ns)
            case _:
                raise RequestRejected(404, f"nothing is served at {incoming.method} {incoming.path}")

    def _begin(self, incoming: Incoming, parameters: CompletionParameters, received_ns: int) -> None:
        service = self._service
        request_id = incoming.headers.get("x-request-id") or f"mock-{os.getpid()}-{service.requests}"
        service.requests += 1
        order = ResponseOrder(
            id=request_id,
            connection=self._number,
            parameters=parameters,
            response=MockResponse(incoming.path, request_id, parameters),
            plan=response_plan(service.settings, request_id, parameters.tokens),
            received_ns=received_ns,
        )
        self._stream = ResponseStream(order, self._output)
        self._stream.begin()
