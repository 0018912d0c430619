"""The processor time and memory of a process and its children while it runs."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kvchaos.stacks.process_group import GONE, PROC
from kvchaos.stacks.process_usage import cpu_s, resident_bytes


class _PeriodicWatch(ABC):
    """Samples a process and its descendants periodically while its block is entered."""

    period_s: float

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self.period_s):
            self._sample()

    @abstractmethod
    def _sample(self) -> None: ...


class MemoryWatch(_PeriodicWatch):
    """The peak of resident memory. Memory that two processes share counts in both."""

    period_s = 0.05

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.peak = 0
        """Bytes resident."""

    def _sample(self) -> None:
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


@dataclass(frozen=True, slots=True)
class UsageSample:
    """Processor time and memory of a set of processes at one moment."""

    at_ns: int
    """Monotonic clock."""
    cpu_s: dict[int, float]
    """Processor time so far, by process."""
    resident_bytes: int
    """Sum over all processes; memory that two processes share counts in both."""


class ProcessWatch(_PeriodicWatch):
    """Processor time by process, and resident memory."""

    period_s = 0.1

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.samples: list[UsageSample] = []

    def _sample(self) -> None:
        pids = list(_family(self._pid))
        self.samples.append(
            UsageSample(
                time.monotonic_ns(), {pid: cpu_s(pid) for pid in pids}, sum(map(resident_bytes, pids))
            )
        )


def used_s(samples: Sequence[UsageSample]) -> float:
    """Processor time from the first sample to the last, also of processes that began or ended between."""
    first: dict[int, float] = dict(samples[0].cpu_s)
    last: dict[int, float] = {}
    for sample in samples:
        last |= {pid: used for pid, used in sample.cpu_s.items() if used}
    return sum(used - first.get(pid, 0.0) for pid, used in last.items())


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(*GONE):
        for child in children(pid):
            yield from _family(child)
