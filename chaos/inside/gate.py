"""Between the connector and the copies: holds jobs back, and damages what a finished load brought."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.hostcopy.blocks import Plane
from chaos.inside.damage import flip_bit, zero_block
from chaos.inside.engine import FaultEngine, Strike

LOAD = "load"
STORE = "store"


@dataclass(frozen=True)
class Job:
    """A copy the connector asked for; `start` hands it to the worker beneath and says whether it took it."""

    id: int
    direction: str
    device_blocks: Sequence[int]
    start: Callable[[], bool]


@dataclass(frozen=True)
class _Held:
    job: Job
    since: float
    """Monotonic seconds."""
    until: float
    strike: Strike


class Gate:
    """The worker-side faults around any worker, vLLM's own or host copies.

    A held copy is a late copy: it starts when its time has come, so that source and destination are
    touched late too. `wait` keeps vLLM's promise that a waited-for job is done.
    """

    def __init__(self, engine: FaultEngine, planes: Sequence[Plane]) -> None:
        self._engine = engine
        self._planes = list(planes)
        self._held: dict[int, _Held] = {}
        self._late: dict[int, float] = {}
        self._loads: dict[int, Job] = {}

    def submit(self, job: Job) -> bool:
        if job.direction == LOAD:
            self._loads[job.id] = job
        strike = self._engine.strike("copy_delay", direction=job.direction)
        if strike is None:
            return job.start()
        now = time.monotonic()
        self._held[job.id] = _Held(job, now, now + _delay_s(strike), strike)
        return True

    def release_due(self) -> None:
        """Start the held copies whose time has come. Call before asking the worker what has finished."""
        now = time.monotonic()
        for held in [held for held in self._held.values() if held.until <= now]:
            self._release(held)

    def release(self, jobs: Iterable[int]) -> None:
        """Start these held copies, each at its time: blocks until then. Call before waiting for jobs."""
        for held in sorted(
            (self._held[job] for job in jobs if job in self._held), key=lambda held: held.until
        ):
            time.sleep(max(0.0, held.until - time.monotonic()))
            self._release(held)

    def finished_of(self, worker: Any) -> list[Any]:
        """vLLM's results of what the worker or handler beneath has finished, after the strikes on it.

        The time that a copy was held back is part of its transfer time.
        """
        self.release_due()
        results: list[Any] = worker.get_finished()
        for result in results:
            held = self.finished(result.job_id)
            if result.transfer_time is not None:
                result.transfer_time += held
        return results

    def finished(self, job: int) -> float:
        """Strike the content of a finished job. Returns the seconds it was held back."""
        load = self._loads.pop(job, None)
        if load is not None:
            self._damage(load)
        return self._late.pop(job, 0.0)

    def _release(self, held: _Held) -> None:
        del self._held[held.job.id]
        late = time.monotonic() - held.since
        self._late[held.job.id] = late
        if not held.job.start():
            raise RuntimeError(f"the worker refused held job {held.job.id}")
        held.strike.fired({"job": held.job.id, "direction": held.job.direction, "ms": round(late * 1e3, 3)})

    def _damage(self, load: Job) -> None:
        if not load.device_blocks:
            return
        if strike := self._engine.strike("bit_flip"):
            flip_bit(strike, self._planes, load.device_blocks)
        if strike := self._engine.strike("zero_block"):
            zero_block(strike, self._planes, load.device_blocks)


def _delay_s(strike: Strike) -> float:
    low, high = float(strike.params["min_ms"]), float(strike.params["max_ms"])
    return (low + (high - low) * strike.draw("delay") / 2**64) / 1e3
