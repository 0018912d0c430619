"""Connections to the server: one request after the other, each answer read as it arrives; and their pool."""

from __future__ import annotations

import socket as system
import time
from collections.abc import Iterator

import gevent
import gevent.socket
from gevent.hub import Waiter
from gevent.monkey import get_original

from loadtests.connections.event_poller import EventPoller
from loadtests.connections.response_arrivals import (
    NS_PER_S,
    SPACE,
    Abandoned,
    RequestFailure,
    ResponseParser,
    RxTimestamps,
    enable_rx_timestamps,
    rx_times_ns,
    stamp_of_now,
)

ESTABLISHED = 1
"""The kernel's state of a connection that neither side has closed."""
IN_MID_STREAM = b"}\n\n\r\n"
"""So ends what arrives of a stream, but not its last event, nor the end of the body behind that."""
IDLE_CONNECTION_S = 2.0
"""The server closes a connection after 5 s of idleness; ours are given up well before."""

Interruption = gevent.Timeout | gevent.GreenletExit | Abandoned


class Connection:
    """`send`, `head` and `body` raise RequestFailure; its kinds are those of httpx2."""

    def __init__(self, host: str, port: int, poller: EventPoller) -> None:
        """Raises RequestFailure."""
        try:
            connected = gevent.socket.create_connection((host, port))
        except OSError as error:
            raise RequestFailure("ConnectError", str(error)) from error
        # Without gevent in between: it is read when there is something to read, and never waits.
        self._socket: system.socket = get_original("socket", "socket")(fileno=connected.detach())
        self._socket.setblocking(False)
        self._socket.setsockopt(system.IPPROTO_TCP, system.TCP_NODELAY, 1)
        enable_rx_timestamps(self._socket)
        self._fd = self._socket.fileno()
        self._parser = ResponseParser()
        self._poller = poller
        self._buffer = poller.buffer
        self._pieces: list[bytes] = []
        """Bytes that were read and are not parsed yet."""
        self._stamps: list[bytes] = []
        """The kernel's timestamp of each of these pieces."""
        self._failure: RequestFailure | None = None
        """Why nothing more can be read."""
        self._ready: Waiter[None] = Waiter()
        self._interruption: Interruption | None = None
        """It came while the reader waited, and is due when what had arrived until then is taken in."""
        self.is_patient = False
        """Mid-stream events may be reported later, many at once; the end of a stream is reported at once."""
        self.arrivals = RxTimestamps(0)
        """Receive times of the body, as far as it was given out."""

    @property
    def whole(self) -> bool:
        """The answer was read to its last byte."""
        return self._parser.whole

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the response."""
        return self._parser.headers

    def send(self, request: bytes) -> None:
        """A whole request, when the answer to the one before is whole."""
        self._parser.begin()
        self.is_patient = False
        self.arrivals = RxTimestamps(time.monotonic_ns())
        left = memoryview(request)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                gevent.socket.wait_write(self._fd)
            except (BrokenPipeError, ConnectionResetError):
                # What a server said before it hung up is worth more than that it did.
                break
        self._poller.add(self._fd, self._read)

    def head(self) -> int:
        """Wait for the status of the answer."""
        while self._parser.status is None:
            self._take_in()
        return self._parser.status

    def body(self) -> Iterator[bytes]:
        """The answer's body behind its head, as it arrives.

        Whoever is interrupted while waiting gets first what has arrived until then.
        """
        while True:
            if self._parser.pieces:
                yield b"".join(self._parser.pieces)
            if self._parser.whole:
                return
            self._take_in()

    def let_go(self) -> None:
        """The request is over, and with it what would have interrupted it; a kill is due now.

        Raises GreenletExit.
        """
        interruption, self._interruption = self._interruption, None
        if isinstance(interruption, gevent.GreenletExit):
            raise interruption

    def is_reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._parser.keeps_alive and self._state() == ESTABLISHED

    def close(self) -> None:
        """Close the socket."""
        self._poller.remove(self._fd)
        self._socket.close()

    def _read(self) -> None:
        """Called in the hub."""
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], SPACE)
        except BlockingIOError:
            return
        except OSError as error:
            self._failure = RequestFailure("ReadError", str(error))
            self._poller.remove(self._fd)
            self._poller.soon(self._wake_reader)
            return
        piece = self._buffer[:size].tobytes()
        self._pieces.append(piece)
        self._stamps.append(ancillary[0][2] if ancillary else stamp_of_now())
        if not self.is_patient or not piece.endswith(IN_MID_STREAM):
            if not piece:
                self._poller.remove(self._fd)
            self._poller.soon(self._wake_reader)
        elif len(self._pieces) == 1:
            self._poller.later(self._wake_reader)

    def _wake_reader(self) -> None:
        """Called in the hub."""
        self._ready.switch(None)

    def _take_in(self) -> None:
        """Parse what was read; wait for it where nothing has arrived."""
        if self._parser.failure is not None:
            raise self._parser.failure
        while not self._pieces:
            self._wait()
        pieces, self._pieces = self._pieces, []
        stamps, self._stamps = self._stamps, []
        arrived_ns = rx_times_ns(stamps, self.arrivals.last_ns)
        ends = self._parser.feed(pieces)
        self.arrivals.add(ends, arrived_ns[: len(ends)])
        if self._parser.whole:
            self._poller.remove(self._fd)
        elif len(ends) > 1:
            self._poller.note((arrived_ns[-1] - arrived_ns[0]) / (len(ends) - 1) / NS_PER_S)

    def _wait(self) -> None:
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            raise interruption
        if self._failure is not None:
            raise self._failure
        try:
            self._ready.get()
        except (gevent.Timeout, gevent.GreenletExit, Abandoned) as interruption:
            self._interruption = interruption
        self._ready.clear()

    def _state(self) -> int:
        return self._socket.getsockopt(system.IPPROTO_TCP, system.TCP_INFO, 1)[0]


class Pool:
    """Connections to one server, as many as there are concurrent requests."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._poller = EventPoller()
        self._idle: list[tuple[float, Connection]] = []
        """Idle connections with the time since when, the longest idle first."""

    def take(self) -> Connection:
        """One that is connected. Raises RequestFailure."""
        self._expire()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_reusable():
                return connection
            connection.close()
        return Connection(self._host, self._port, self._poller)

    def give_back(self, connection: Connection) -> None:
        """Whatever has become of its request. Raises GreenletExit when that came meanwhile."""
        if connection.is_reusable():
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()
        connection.let_go()

    def close(self) -> None:
        """Close all idle connections and the poller."""
        while self._idle:
            self._idle.pop()[1].close()
        self._poller.close()

    def _expire(self) -> None:
        oldest = time.monotonic() - IDLE_CONNECTION_S
        while self._idle and self._idle[0][0] < oldest:
            self._idle.pop(0)[1].close()
