"""When bytes arrived, by the kernel's word: whatever this process did meanwhile makes no server look slow."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

import gevent.socket

SO_TIMESTAMPNS = 35
"""Linux's number; Python has no name for it."""
_timespec = struct.Struct("qq")
SPACE = socket.CMSG_SPACE(_timespec.size)
"""For the kernel's word, beside what a read gives."""
NS_PER_S = 1_000_000_000

Told = Sequence[tuple[int, int, bytes]]
"""As recvmsg gives it."""


def ask_for(connection: gevent.socket.socket) -> None:
    """Have the kernel tell with each read when the last byte of it arrived."""
    # Where it cannot, the moment of reading has to do.
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def moment_ns(told: Told, earliest_ns: int) -> int:
    """The arrival of what was read just now, monotonic clock. `earliest_ns`: it was not there before."""
    # In this order, so that what comes in between makes it later and never too early.
    wall_ns = time.time_ns()
    now_ns = time.monotonic_ns()
    if not told:
        return now_ns
    seconds, rest_ns = _timespec.unpack(told[0][2])
    waited_ns: int = wall_ns - seconds * NS_PER_S - rest_ns
    # Bounds, should somebody have set the wall clock meanwhile.
    return min(max(now_ns - waited_ns, earliest_ns), now_ns)
