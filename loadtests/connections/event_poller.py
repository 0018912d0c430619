"""Polls the readable sockets of an event loop, and schedules the callbacks for what was read.

Going to sleep and waking up costs a process more than reading an event does. So data that arrives within a
short interval is read together, and decoding is deferred further. The delay is in no record, because the
kernel stamps each arrival.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent
from gevent.monkey import get_original

FINE_S, COARSE_S = 0.002, 0.004
"""The longest that received bytes wait to be read, in seconds, if this process has a CPU.

The longer one applies if the events of one connection are at least twice as far apart.
"""
TURN_S = 0.002
"""The longest that reading waits for what is done with what was read."""
SLOWNESS = 16
"""So many wider gaps it takes to believe that they are wider."""
PATIENCE_S = 0.5
"""The longest that what was read waits to be taken in."""
BUFFER_BYTES = 64 << 10
READABLE = 1
"""The event mask of epoll and of the event loop."""

Act = Callable[[], None]


class EventPoller:
    """Polls the sockets of one event loop, at most once a period, and only while one is readable."""

    def __init__(self) -> None:
        self._epoll = get_original("select", "epoll")()
        self._read: dict[int, Act] = {}
        self._urgent: deque[Act] = deque()
        self._patient: deque[tuple[float, Act]] = deque()
        """Since when; the one that waits longest first."""
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        """Buffer for all sockets, as one is read at a time. A buffer for each read would cost more."""
        loop = gevent.get_hub().loop
        # Neither keeps the event loop alive.
        self._any = loop.io(self._epoll.fileno(), READABLE, ref=False)
        self._fine = self._period = loop.timer(FINE_S, FINE_S, ref=False)
        self._coarse = loop.timer(COARSE_S, COARSE_S, ref=False)
        self._gap_s = 0.0
        self._any.start(self._begin)

    def add(self, fd: int, read: Act) -> None:
        """Call `read()`, in the hub, for as long as there is something to read."""
        self._read[fd] = read
        self._epoll.register(fd, READABLE)

    def remove(self, fd: int) -> None:
        """Stop polling a socket, if it is polled."""
        if self._read.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def soon(self, act: Act) -> None:
        """Called while something is read: call `act()`, in the hub, behind all reading."""
        self._urgent.append(act)

    def later(self, act: Act) -> None:
        """Called while something is read: call `act()`, in the hub, when that has waited long enough."""
        self._patient.append((time.monotonic(), act))

    def note(self, gap_s: float) -> None:
        """What came over one connection came so far apart."""
        wider_s = gap_s - self._gap_s
        self._gap_s += min(wider_s, wider_s / SLOWNESS)

    def close(self) -> None:
        """Stop polling."""
        for watcher in (self._any, self._fine, self._coarse):
            watcher.stop()
            watcher.close()
        self._epoll.close()

    def _begin(self) -> None:
        self._any.stop()
        self._period.again(self._poll)
        self._poll()

    def _poll(self) -> None:
        ready = self._epoll.poll(0)
        for fd, _ in ready:
            # One of those before it may have made it leave.
            read = self._read.get(fd)
            if read is not None:
                read()
        if self._urgent or self._patient:
            self._act(time.monotonic())
            self._choose_period()
        elif not ready:
            self._period.stop()
            self._any.start(self._begin)

    def _act(self, now: float) -> None:
        urgent, patient, begun = self._urgent, self._patient, now
        while urgent and now < begun + TURN_S:
            urgent.popleft()()
            now = time.monotonic()
        if patient and patient[0][0] <= begun - PATIENCE_S:
            # With one, all: done together they take the least.
            while patient and now < begun + TURN_S:
                patient.popleft()[1]()
                now = time.monotonic()

    def _choose_period(self) -> None:
        period = self._coarse if self._gap_s >= 2 * COARSE_S else self._fine
        if period is not self._period:
            self._period.stop()
            self._period = period
            self._period.again(self._poll)
