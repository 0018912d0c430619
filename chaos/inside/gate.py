"""Between the connector and the copies: holds jobs and results back, and damages what a copy brought."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from chaos.hostcopy.blocks import Plane, blocks_beside
from chaos.inside.damage import DEEDS, Staleness
from chaos.inside.engine import FaultEngine, Strike
from chaos.inside.ledger.contents import Contents
from chaos.inside.raising import InjectedFailure
from history.protocol import ledger as rules
from history.protocol.evidence import (
    CompletionsReordered,
    ContentDamaged,
    CopyDelayed,
    CopyFired,
    Direction,
)
from history.protocol.ledger import Violation

LOAD: Direction = "load"
STORE: Direction = "store"


class Tier(Protocol):
    """The offload tier's own memory."""

    @property
    def blocks_per_chunk(self) -> int: ...

    def own_planes(self) -> list[Plane]: ...


@dataclass(frozen=True)
class Job:
    """A copy the connector asked for; `start` hands it to the worker beneath and says whether it took it."""

    id: int
    direction: Direction
    device: Any
    """GPULoadStoreSpec."""
    chunks: Any
    """CPULoadStoreSpec."""
    start: Callable[[], bool]
    request: str | None = None
    """Whose blocks they are, where that is known."""
    at_once: bool = False
    """Whether it must be done when it is submitted."""


@dataclass(frozen=True)
class _Held:
    job: Job
    since: float
    """Monotonic seconds."""
    until: float
    strike: Strike


@dataclass(frozen=True)
class _End:
    """A finished copy, as the connector is told of it."""

    result: Any
    job: Job | None
    """None: the worker beneath told the end of a copy that nobody asked for."""


@dataclass(frozen=True)
class _Late:
    end: _End
    until: float


@dataclass(frozen=True)
class _Again:
    """An end that is told a second time, when the next ends are told."""

    end: _End
    job: Job
    strike: Strike


class Gate:
    """The worker-side faults around any worker, vLLM's own or host copies.

    A held copy is a late copy: it starts when its time has come, so that source and destination are
    touched late too. `wait` keeps vLLM's promise that a waited-for job is done. Results are vLLM's own
    TransferResult objects.
    """

    def __init__(
        self,
        engine: FaultEngine,
        device: Sequence[Plane],
        tier: Tier | None,
        contents: Contents | None = None,
    ) -> None:
        """Without a known tier what a store wrote cannot be damaged.

        `contents` compares blocks in audit mode; both directions share it.
        """
        self._engine = engine
        self._device = list(device)
        self._tier = tier
        self._contents = contents
        self._copies = engine.ledger.account(rules.COPIES)
        self._stale = {LOAD: Staleness(), STORE: Staleness()}
        self._held: dict[int, _Held] = {}
        self._delays: dict[int, float] = {}
        self._jobs: dict[int, Job] = {}
        self._late: list[_Late] = []
        self._again: list[_Again] = []

    def submit(self, job: Job) -> bool:
        if strike := self._strike("copy_raises", job):
            strike.fired(CopyFired(job=job.id, direction=job.direction))
            raise InjectedFailure(f"kvchaos: the copy of job {job.id} raises on purpose")
        if strike := self._strike("copy_refused", job):
            strike.fired(CopyFired(job=job.id, direction=job.direction))
            return False
        self._begin(job)
        strike = self._strike("copy_delay", job)
        if strike is None:
            return job.start()
        now = time.monotonic()
        self._held[job.id] = _Held(job, now, now + _delay_s(strike), strike)
        if job.at_once:
            self.release([job.id])
        return True

    def release_due(self) -> None:
        """Start the held copies whose time has come."""
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
        """What the connector is told now of the jobs that the worker or handler beneath has finished.

        The time that a copy was held back is part of its transfer time.
        """
        self.release_due()
        finished: list[Any] = worker.get_finished()
        now = time.monotonic()
        told = self._second_ends()
        told += [late.end for late in self._late if late.until <= now]
        self._late = [late for late in self._late if late.until > now]
        for result in finished:
            told += self._pass(result, now)
        if len(told) > 1 and (strike := self._engine.strike("completion_reorder")):
            told.reverse()
            strike.fired(_order(told))
        return [end.result for end in told]

    def _pass(self, result: Any, now: float) -> list[_End]:
        """Damage, delay, lose or double one result."""
        job = self._end(result.job_id)
        if job is None:
            return [_End(result, None)]
        self._damage(job)
        if result.transfer_time is not None:
            result.transfer_time += self._delays.pop(job.id, 0.0)
        end = _End(result, job)
        proof = CopyFired(job=job.id, direction=job.direction)
        if strike := self._strike("copy_failed", job):
            result.success = False
            strike.fired(proof)
        if strike := self._strike("completion_lost", job):
            strike.fired(proof)
            return []
        if strike := self._strike("completion_twice", job):
            if strike.params["later"]:
                self._again.append(_Again(end, job, strike))
                return [end]
            strike.fired(proof)
            return [end, end]
        if strike := self._strike("completion_late", job):
            delay = _delay_s(strike)
            self._late.append(_Late(end, now + delay))
            ms = round(delay * 1e3, 3)
            strike.fired(CopyDelayed(job=job.id, direction=job.direction, ms=ms))
            return []
        return [end]

    def _second_ends(self) -> list[_End]:
        """Ends of an earlier step that are told once more, unless their fault is over."""
        again, self._again = self._again, []
        if not self._engine.armed("completion_twice"):
            for each in again:
                each.strike.refused("healed-first")
            return []
        for each in again:
            each.strike.fired(CopyFired(job=each.job.id, direction=each.job.direction))
        return [each.end for each in again]

    def _strike(self, kind: str, job: Job) -> Strike | None:
        return self._engine.strike(kind, request=job.request, direction=job.direction)

    def _begin(self, job: Job) -> None:
        if self._copies.is_open(job.id):
            self._engine.ledger.violation(rules.COPY_BEGUN_TWICE, Violation(job=job.id))
        self._copies.begin(job.id)
        self._jobs[job.id] = job
        if self._contents is not None and job.direction == LOAD:
            self._contents.load_begins(job.id, self._tier_blocks(job))
        elif self._contents is not None:
            self._contents.store_begins(job.id, job.device.block_ids.tolist())

    def _end(self, job_id: int) -> Job | None:
        """Close the books on a job that the worker beneath has finished; None when it was not begun."""
        if not self._copies.end(job_id):
            self._engine.ledger.violation(rules.COPY_NOT_BEGUN, Violation(job=job_id))
            return None
        job = self._jobs.pop(job_id)
        if self._contents is not None and job.direction == LOAD:
            self._contents.load_ends(job.id, job.device.block_ids.tolist())
        elif self._contents is not None:
            self._contents.store_ends(job.id, self._tier_blocks(job))
        return job

    def _release(self, held: _Held) -> None:
        del self._held[held.job.id]
        late = time.monotonic() - held.since
        self._delays[held.job.id] = late
        if not held.job.start():
            raise RuntimeError(f"the worker refused held job {held.job.id}")
        ms = round(late * 1e3, 3)
        held.strike.fired(CopyDelayed(job=held.job.id, direction=held.job.direction, ms=ms))

    def _damage(self, job: Job) -> None:
        """Strike what a copy wrote: the device's blocks of a load, the tier's blocks of a store."""
        planes, blocks = self._written(job)
        if not blocks:
            return
        struck = False
        for kind, deed in DEEDS.items():
            if strike := self._strike(kind, job):
                struck |= self._report(strike, deed(strike, planes, blocks), job.direction)
        stale = self._stale[job.direction]
        if strike := self._strike("stale_block", job):
            struck |= self._report(strike, stale.plant(strike, planes, blocks), job.direction)
        if self._engine.armed("stale_block"):
            stale.remember(planes, blocks)
        if struck and job.direction == STORE and self._contents is not None:
            self._contents.damaged(blocks)

    def _report(self, strike: Strike, damage: ContentDamaged | None, direction: Direction) -> bool:
        """Whether there was something to damage."""
        if damage is None:
            strike.refused("nothing-to-damage")
            return False
        chunks: set[int] = set()
        if direction == STORE and self._tier is not None:
            chunks = {block // self._tier.blocks_per_chunk for block in damage.changed}
        strike.fired(replace(damage, direction=direction, chunks=tuple(sorted(chunks))))
        return True

    def _written(self, job: Job) -> tuple[list[Plane], list[int]]:
        """Where a finished copy has written: planes, and its blocks in them."""
        if job.direction == LOAD:
            return self._device, job.device.block_ids.tolist()
        if self._tier is None:
            return [], []
        return self._tier.own_planes(), self._tier_blocks(job)

    def _tier_blocks(self, job: Job) -> list[int]:
        """The blocks of the tier that a job of known tier copies from or to."""
        assert self._tier is not None
        return blocks_beside(job.device, job.chunks.block_ids.tolist(), self._tier.blocks_per_chunk)


def _order(ends: Sequence[_End]) -> CompletionsReordered:
    """Jobs, directions and requests in the order told; a request that is not known is left empty."""
    return CompletionsReordered(
        jobs=[end.result.job_id for end in ends],
        directions=[end.job.direction if end.job else "" for end in ends],
        requests=[(end.job and end.job.request) or "" for end in ends],
    )


def _delay_s(strike: Strike) -> float:
    low, high = float(strike.params["min_ms"]), float(strike.params["max_ms"])
    return (low + (high - low) * strike.draw("delay") / 2**64) / 1e3
