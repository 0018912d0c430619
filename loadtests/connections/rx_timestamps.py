"""Kernel receive timestamps of bytes, so that delays in this process do not make the server look slow."""

from __future__ import annotations

import socket
import struct
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate

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
    """When the bytes of one body arrived, queried in order; monotonic clock, ns."""

    def __init__(self, earliest_ns: int) -> None:
        self.last_ns = earliest_ns
        """Of the last byte so far."""
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
        """When each of the next pieces, of these sizes, was complete; all must have been added."""
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
