"""Which sockets can be read, told to all of them together.

Going to sleep and waking up costs a process more than reading an event does. So what arrives within a short
while is read in one go; how long it waited for that shows in no record, as the kernel stamps each arrival.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.monkey import get_original

PERIOD_S = 0.002
"""The longest that what has arrived waits to be read, if this process has a processor."""
READABLE = 1
"""Epoll's word and the event loop's."""

Wake = Callable[[None], None]


class Readiness:
    """Of the sockets of one event loop, which are looked at once a period at most, and never without need."""

    def __init__(self) -> None:
        self._epoll = get_original("select", "epoll")()
        self._wake: dict[int, Wake] = {}
        loop = gevent.get_hub().loop
        # Neither keeps the event loop alive.
        self._any = loop.io(self._epoll.fileno(), READABLE, ref=False)
        self._period = loop.timer(PERIOD_S, PERIOD_S, ref=False)
        self._any.start(self._begin)

    def add(self, fd: int, wake: Wake) -> None:
        """Call `wake(None)`, in the hub, for as long as there is something to read."""
        self._wake[fd] = wake
        self._epoll.register(fd, READABLE)

    def remove(self, fd: int) -> None:
        """It may not be there any more."""
        if self._wake.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        for watcher in (self._any, self._period):
            watcher.stop()
            watcher.close()
        self._epoll.close()

    def _begin(self) -> None:
        self._any.stop()
        self._period.again(self._tell)
        self._tell()

    def _tell(self) -> None:
        ready = self._epoll.poll(0)
        if not ready:
            self._period.stop()
            self._any.start(self._begin)
        for fd, _ in ready:
            # One of those before it may have made it leave.
            wake = self._wake.get(fd)
            if wake is not None:
                wake(None)
