"""A connection to the server: one request after the other, each answer read as it arrives."""

from __future__ import annotations

import socket as system
import time
from collections.abc import Iterator
from contextlib import suppress

import gevent.socket
from gevent.hub import Waiter

from loadtests.client import RequestFailed
from loadtests.lean import arrival
from loadtests.lean.answer_parser import AnswerParser
from loadtests.lean.readiness import Readiness

ESTABLISHED = 1
"""The kernel's word for a connection that nobody has closed."""


class Connection:
    """`send`, `head` and `body` raise RequestFailed; its kinds are those of httpx2, as under openai."""

    def __init__(self, host: str, port: int, buffer: bytearray, readiness: Readiness) -> None:
        """The buffer is for one read, and may be shared: nobody else has a turn before that is parsed.

        Raises RequestFailed.
        """
        try:
            self._socket = gevent.socket.create_connection((host, port))
        except OSError as error:
            raise RequestFailed("ConnectError", str(error)) from error
        self._socket.setsockopt(system.IPPROTO_TCP, system.TCP_NODELAY, 1)
        arrival.ask_for(self._socket)
        self._buffer = memoryview(buffer)
        self._parser = AnswerParser()
        self._readiness = readiness
        self._ready: Waiter[None] = Waiter()
        self.arrived_ns = 0
        """When the last byte that was read had arrived; monotonic clock."""

    @property
    def whole(self) -> bool:
        """The answer was read to its last byte."""
        return self._parser.whole

    def send(self, request: bytes) -> None:
        """A whole request, when the answer to the one before is whole."""
        self._parser.begin()
        self.arrived_ns = time.monotonic_ns()
        # What a server said before it hung up is worth more than that it did.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(request)
        self._readiness.add(self._socket.fileno(), self._ready.switch)

    def head(self) -> int:
        """Wait for the status of the answer."""
        while self._parser.status is None:
            self._receive()
        return self._parser.status

    def body(self) -> Iterator[bytes]:
        """The answer's body behind its head, piece by piece as they are read."""
        while True:
            if self._parser.pieces:
                yield b"".join(self._parser.pieces)
            if self._parser.whole:
                return
            self._receive()

    def is_reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._parser.keeps_alive and self._state() == ESTABLISHED

    def close(self) -> None:
        self._readiness.remove(self._socket.fileno())
        self._socket.close()

    def _receive(self) -> None:
        if self._parser.failure is not None:
            raise self._parser.failure
        self._ready.get()
        self._ready.clear()
        try:
            count, told, _, _ = self._socket.recvmsg_into((self._buffer,), arrival.SPACE)
        except OSError as error:
            raise RequestFailed("ReadError", str(error)) from error
        self.arrived_ns = arrival.moment_ns(told, self.arrived_ns)
        parser = self._parser
        parser.feed(self._buffer[:count])
        if parser.whole:
            self._readiness.remove(self._socket.fileno())

    def _state(self) -> int:
        return self._socket.getsockopt(system.IPPROTO_TCP, system.TCP_INFO, 1)[0]
