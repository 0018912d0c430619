"""The health of the load process: a lagging client attributes its own delays to the server."""

from __future__ import annotations

import gc
import os
import time
from typing import Literal

import gevent

from history.latency import EVERY_US
from history.records import ClientRecord

SAMPLE_S = EVERY_US / 1e6
NS_PER_US = 1000
SOCKET = "socket:"


class ClientMonitor:
    """Watches this process from `start` to `stop`. One of these a process."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._sampler = gevent.Greenlet(self._sample)
        self._collecting_since_ns = 0
        self._reset()

    def start(self) -> None:
        """Start to sample event loop lag and garbage collection."""
        gc.callbacks.append(self._collector)
        self._sampler.start()

    def stop(self) -> None:
        """Stop to sample."""
        self._sampler.kill(block=False)
        gc.callbacks.remove(self._collector)

    def reading(self, phase: str) -> ClientRecord:
        """The measurements since the last reading."""
        now_ns = time.monotonic_ns()
        record = ClientRecord(
            t_ns=time.time_ns(),
            mono_ns=now_ns,
            worker=self._worker,
            phase=phase,
            wall_us=(now_ns - self._since_ns) // NS_PER_US,
            cpu_us=(time.process_time_ns() - self._cpu_ns) // NS_PER_US,
            event_loop_lag_us=self._event_loop_lag_us,
            gc_pause_us=self._gc_pause_us,
            connections=_sockets(),
        )
        self._reset()
        return record

    def _reset(self) -> None:
        self._since_ns = time.monotonic_ns()
        self._cpu_ns = time.process_time_ns()
        self._event_loop_lag_us: list[int] = []
        self._gc_pause_us: list[int] = []

    def _sample(self) -> None:
        """Sleep repeatedly; the excess is the event loop lag that all greenlets had."""
        while True:
            begin = time.monotonic_ns()
            gevent.sleep(SAMPLE_S)
            late_ns = time.monotonic_ns() - begin - round(SAMPLE_S * 1e9)
            self._event_loop_lag_us.append(max(late_ns, 0) // NS_PER_US)

    def _collector(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since_ns = time.monotonic_ns()
        else:
            self._gc_pause_us.append((time.monotonic_ns() - self._collecting_since_ns) // NS_PER_US)


def _sockets() -> int:
    """Sockets that this process has open."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            count += os.readlink(entry).startswith(SOCKET)  # noqa: PTH115 (no path is wanted)
        except FileNotFoundError:
            continue
    return count
