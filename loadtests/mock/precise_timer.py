"""Calls callbacks at exact times in an event loop."""

from __future__ import annotations

import asyncio
import heapq
import select
import selectors
import time
from collections.abc import Callable

NS_PER_S = 1e9


class PreciseSelector(selectors.EpollSelector):
    """epoll rounds a wait up to whole milliseconds; select on the epoll itself knows microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.SelectorEventLoop:
    return asyncio.SelectorEventLoop(PreciseSelector())


class PreciseTimer:
    """Runs acts when they are due, in order, with one timer of the loop for all of them.

    The loop's own timers are compared in Python, several times for each one that is set.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._acts: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def at(self, mono_ns: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._acts, (mono_ns, self._count, act))
        self._arm()

    def _arm(self) -> None:
        if not self._acts:
            return
        due_ns = self._acts[0][0]
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._loop.call_at(due_ns / NS_PER_S, self._run)

    def _run(self) -> None:
        # What falls due meanwhile waits for the next turn: new requests must be read, too.
        now_ns = time.monotonic_ns()
        while self._acts and self._acts[0][0] <= now_ns:
            heapq.heappop(self._acts)[2]()
        self._timer = None
        self._arm()
