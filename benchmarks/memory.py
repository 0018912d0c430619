"""The peak memory of a process and its children together."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from kvchaos.stacks.process_group import PROC
from kvchaos.stacks.process_usage import GONE, resident_bytes

PERIOD_S = 0.05


class MemoryWatch:
    """Samples periodically while its block is entered. Memory that two processes share counts in both."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
        self.peak = 0
        """Bytes resident."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(PERIOD_S):
            self.peak = max(self.peak, resident(self._pid))


def resident(pid: int) -> int:
    """Bytes resident of a process and its children; 0 when it has ended."""
    with suppress(*GONE):
        return resident_bytes(pid) + sum(map(resident, children(pid)))
    return 0


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    tasks = (PROC / str(pid) / "task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
