"""When bytes arrived, by the kernel's word: whatever this process did meanwhile makes no server look slow."""

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
"""For the kernel's word, beside what a read gives."""
NS_PER_S = 1_000_000_000


def ask_for(connection: socket.socket) -> None:
    """Have the kernel tell with each read when the last byte of it arrived."""
    # Where it cannot, the moment of reading has to do.
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def stamp_of_now() -> bytes:
    """As the kernel would give it."""
    return _timespec.pack(*divmod(time.time_ns(), NS_PER_S))


def moments_ns(stamps: Sequence[bytes], earliest_ns: int) -> list[int]:
    """What was stamped shortly before, on the monotonic clock. `earliest_ns`: none was there before."""
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


class Arrivals:
    """When the bytes of one body arrived, asked for in their order; monotonic clock, ns."""

    def __init__(self, earliest_ns: int) -> None:
        self.last_ns = earliest_ns
        """Of the last byte so far."""
        self._ends: list[int] = []
        """How many bytes there were after each read that has not been asked for,"""
        self._moments: list[int] = []
        """and when the last one of that read was there."""
        self._asked = 0

    def add(self, ends: Sequence[int], moments_ns: Sequence[int]) -> None:
        """One read after the other: how many bytes there are then, and when the last of them arrived."""
        self._ends += ends
        self._moments += moments_ns
        self.last_ns = moments_ns[-1]

    def of(self, sizes: Sequence[int]) -> list[int]:
        """When each of the next pieces, of so many bytes, was there as a whole; all must have been added."""
        _, *ends = accumulate(sizes, initial=self._asked)
        if ends == self._ends:
            # Each came by itself, as it does in mid-stream.
            moments, self._ends, self._moments = self._moments, [], []
        else:
            moments = [self._moments[bisect_left(self._ends, end)] for end in ends]
            told = bisect_right(self._ends, ends[-1]) if ends else 0
            del self._ends[:told], self._moments[:told]
        if ends:
            self._asked = ends[-1]
        return moments
