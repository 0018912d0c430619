"""Responses as they arrive: HTTP/1.1 however the bytes are split, and the kernel's receive timestamps."""

from __future__ import annotations

import socket
import struct
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser


class Abandoned(Exception):
    """The client aborts this request on purpose now."""


class RequestFailure(Exception):
    """The server or the network ended a request without a complete response."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The error's class, the same for all clients."""


INFORMATIONAL = range(100, 200)
"""Such a status only announces another."""
FRAMING = (b"content-length", b"transfer-encoding")


class ResponseParser:
    """Parses the responses of one connection; call `begin` before each."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """Pieces of the body in the data that was fed last."""
        # llhttp calls it for each piece, so there is nothing in between.
        self.on_body = self.pieces.append
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forget the last response."""
        self.pieces.clear()
        self.headers: list[tuple[bytes, bytes]] = []
        self.status: int | None = None
        self._size = 0
        """Bytes of the body so far."""
        self.whole = False
        """The response is complete."""
        self.failure: RequestFailure | None = None
        """Nothing more will come of it, since what came was no HTTP or not all."""
        self.keeps_alive = False
        """The connection can take another request."""
        self._framed = False
        """The response declares where it ends."""

    def feed(self, reads: Sequence[bytes]) -> list[int]:
        """Parse what was read, one read after the other; empty when the server closed the connection.

        Returns how many bytes of the body there are after each read. The last ones are missing when the
        answer fails before them.
        """
        pieces, ends = self.pieces, []
        pieces.clear()
        try:
            for data in reads:
                if data:
                    self._parser.feed_data(data)
                else:
                    self._closed()
                ends.append(len(pieces))
        except (HttpParserError, HttpParserUpgrade) as error:
            self.keeps_alive = False
            self.failure = RequestFailure("RemoteProtocolError", f"no HTTP: {error}")
            ends.append(len(pieces))
        sizes = [*accumulate(map(len, pieces), initial=self._size)]
        self._size = sizes[-1]
        return [sizes[end] for end in ends]

    def _closed(self) -> None:
        self.keeps_alive = False
        if self.whole:
            return
        if self.status is not None and not self._framed:
            self.whole = True
            return
        answered = "without sending a response" if self.status is None else "in the middle of the response"
        self.failure = RequestFailure("RemoteProtocolError", f"the server closed the connection {answered}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        self.headers.append((name, value))
        self._framed = self._framed or name.lower() in FRAMING

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        status = self._parser.get_status_code()
        if self.whole:
            self.keeps_alive = False  # More has come than was asked for.
        elif status in INFORMATIONAL:
            self.headers = []
        else:
            self.status = status

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        if self.status is not None and not self.whole:
            self.whole = True
            self.keeps_alive = self._parser.should_keep_alive()


SO_TIMESTAMPNS = 35
"""Linux's number; Python has no name for it."""
_timespec = struct.Struct("qq")
SPACE = socket.CMSG_SPACE(_timespec.size)
"""Ancillary buffer size for one timestamp."""
NS_PER_S = 1_000_000_000


def enable_rx_timestamps(connection: socket.socket) -> None:
    """Have the kernel report with each read when its last byte arrived."""
    # If it cannot, the time of the read is used.
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def stamp_of_now() -> bytes:
    """The current time in the kernel's format."""
    return _timespec.pack(*divmod(time.time_ns(), NS_PER_S))


def rx_times_ns(stamps: Sequence[bytes], earliest_ns: int) -> list[int]:
    """Convert recent kernel stamps to the monotonic clock. `earliest_ns`: lower bound of the first."""
    # In this order, so that what comes in between makes them later and never too early.
    wall_ns = time.time_ns()
    now_ns = time.monotonic_ns()
    moments = []
    for seconds, rest_ns in _timespec.iter_unpack(b"".join(stamps)):
        moment_ns = now_ns - (wall_ns - seconds * NS_PER_S - rest_ns)
        # Bounds, should somebody have set the wall clock meanwhile.
        if moment_ns < earliest_ns:
            moment_ns = earliest_ns
        elif moment_ns > now_ns:
            moment_ns = now_ns
        moments.append(moment_ns)
        earliest_ns = moment_ns
    return moments


class RxTimestamps:
    """Times at which the bytes of one body arrived, queried in order; monotonic clock, ns."""

    def __init__(self, earliest_ns: int) -> None:
        self.last_ns = earliest_ns
        """Receive time of the last byte so far."""
        self._ends: list[int] = []
        """Cumulative bytes after each read that is not consumed yet."""
        self._moments: list[int] = []
        """When the last byte of each of these reads arrived."""
        self._consumed = 0

    def add(self, ends: Sequence[int], rx_times_ns: Sequence[int]) -> None:
        """Add reads in order: cumulative bytes, and when the last byte arrived."""
        self._ends += ends
        self._moments += rx_times_ns
        self.last_ns = rx_times_ns[-1]

    def of(self, sizes: Sequence[int]) -> list[int]:
        """Times at which the next pieces of these sizes were complete; all must have been added."""
        _, *ends = accumulate(sizes, initial=self._consumed)
        if ends == self._ends:
            # Each came by itself, as it does in mid-stream.
            moments, self._ends, self._moments = self._moments, [], []
        else:
            moments = [self._moments[bisect_left(self._ends, end)] for end in ends]
            consumed = bisect_right(self._ends, ends[-1]) if ends else 0
            del self._ends[:consumed], self._moments[:consumed]
        if ends:
            self._consumed = ends[-1]
        return moments
