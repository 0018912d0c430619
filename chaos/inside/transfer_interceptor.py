"""Intercepts transfers between the connector and the worker: delays jobs and results, corrupts blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chaos.hostcopy.tier import Plane, blocks_beside
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.injection_points import (
    CONTENT,
    COPY,
    COPY_RESULT,
    COPY_RESULTS,
    CopiedBlocks,
    CopyEnd,
    CopyEnds,
    CopyRequest,
)
from chaos.inside.transfer_audit.block_checksums import BlockChecksums
from chaos.inside.trigger_decisions import Injection
from history.protocol import audit_records as rules
from history.protocol.audit_records import Violation
from history.protocol.evidence import CopyDelayed, Direction, Firing

LOAD: Direction = "load"
STORE: Direction = "store"


class Tier(Protocol):
    """The offload tier's own memory."""

    @property
    def blocks_per_chunk(self) -> int:
        """How many of the device's blocks a chunk of the tier has."""

    def own_planes(self) -> list[Plane]:
        """The tier's memory as tensors, one row a block."""


@dataclass(frozen=True)
class TransferJob:
    """A copy that the connector requested; `start` submits it and returns whether the worker accepted."""

    id: int
    direction: Direction
    device: Any
    """GPULoadStoreSpec."""
    chunks: Any
    """CPULoadStoreSpec."""
    start: Callable[[], bool]
    request: str | None = None
    """The request that owns the blocks, where known."""
    at_once: bool = False
    """Whether it must be complete when `submit` returns."""


@dataclass(frozen=True)
class _DelayedJob:
    job: TransferJob
    since: float
    """Monotonic seconds."""
    until: float
    injection: Injection


@dataclass(frozen=True)
class _Completion:
    """A finished copy, as reported to the connector."""

    result: Any
    job: TransferJob | None
    """None: the worker reported the end of a copy that was never requested."""


@dataclass(frozen=True)
class _DelayedCompletion:
    completion: _Completion
    until: float


@dataclass(frozen=True)
class _Duplicate:
    """A completion to report a second time, together with the next completions."""

    completion: _Completion
    injection: Injection
    evidence: Firing


class TransferInterceptor:
    """The worker-side faults around any worker, vLLM's own or host copies.

    A delayed copy starts when it is due, so that source and destination are accessed late too. `release`
    keeps vLLM's guarantee that a job is done after `wait`. Results are vLLM's own TransferResult objects.
    """

    def __init__(
        self,
        runtime: FaultRuntime,
        device: Sequence[Plane],
        tier: Tier | None,
        checksums: BlockChecksums | None = None,
    ) -> None:
        """Without a known tier the blocks that a store wrote cannot be corrupted.

        `checksums` compares blocks in audit mode; both directions share it.
        """
        self._runtime = runtime
        self._device = list(device)
        self._tier = tier
        self._checksums = checksums
        self._copies = runtime.audit.tracker(rules.COPIES)
        self._memory: dict[Direction, dict[str, Any]] = {LOAD: {}, STORE: {}}
        """What faults keep of earlier copies."""
        self._delayed: dict[int, _DelayedJob] = {}
        self._delays: dict[int, float] = {}
        self._jobs: dict[int, TransferJob] = {}
        self._delayed_completions: list[_DelayedCompletion] = []
        self._duplicates: list[_Duplicate] = []

    def settled(self) -> bool:
        """Whether no copy and no result is delayed."""
        return not (self._delayed or self._delayed_completions or self._duplicates)

    def forget(self) -> None:
        """Forget the copies in flight: their ends will not be reported."""
        self._jobs.clear()
        self._delays.clear()
        self._copies.drop_all()
        for memory in self._memory.values():
            memory.clear()

    def submit(self, job: TransferJob) -> bool:
        """Begin a copy, now or delayed; False when a fault refuses it."""
        copy = CopyRequest(job.id, job.direction)
        self._runtime.inject(COPY, copy, request=job.request, direction=job.direction)
        if copy.refused:
            return False
        self._begin(job)
        if copy.delayed_by is None:
            return job.start()
        now = time.monotonic()
        self._delayed[job.id] = _DelayedJob(job, now, now + copy.delay_s, copy.delayed_by)
        if job.at_once:
            self.release([job.id])
        return True

    def release_due(self) -> None:
        """Start the delayed copies that are due."""
        now = time.monotonic()
        for delayed in [delayed for delayed in self._delayed.values() if delayed.until <= now]:
            self._release(delayed)

    def release(self, jobs: Iterable[int]) -> None:
        """Start these delayed copies when they are due; blocks until then. Call before waiting for jobs."""
        for delayed in sorted(
            (self._delayed[job] for job in jobs if job in self._delayed), key=lambda delayed: delayed.until
        ):
            time.sleep(max(0.0, delayed.until - time.monotonic()))
            self._release(delayed)

    def finished_of(self, worker: Any) -> list[Any]:
        """The results to report to the connector now, of jobs that the wrapped worker has finished.

        A transfer time includes the delay before the copy.
        """
        self.release_due()
        finished: list[Any] = worker.get_finished()
        now = time.monotonic()
        reported = self._duplicate_completions()
        reported += [late.completion for late in self._delayed_completions if late.until <= now]
        self._delayed_completions = [late for late in self._delayed_completions if late.until > now]
        for result in finished:
            reported += self._alter(result, now)
        if len(reported) > 1:
            ends = _ends(reported)
            self._runtime.inject(COPY_RESULTS, ends)
            if ends.reversed:
                reported.reverse()
        return [completion.result for completion in reported]

    def _alter(self, result: Any, now: float) -> list[_Completion]:
        """Corrupt, delay, lose or duplicate one result."""
        job = self._end(result.job_id)
        if job is None:
            return [_Completion(result, None)]
        self._corrupt(job)
        if result.transfer_time is not None:
            result.transfer_time += self._delays.pop(job.id, 0.0)
        completion = _Completion(result, job)
        end = CopyEnd(job.id, job.direction, result)
        self._runtime.inject(COPY_RESULT, end, request=job.request, direction=job.direction)
        if end.again is not None:
            self._duplicates.append(_Duplicate(completion, *end.again))
        if end.delay_s is not None:
            self._delayed_completions.append(_DelayedCompletion(completion, now + end.delay_s))
            return []
        return [completion] * end.reports

    def _duplicate_completions(self) -> list[_Completion]:
        """Completions of an earlier step to report again, unless their fault is over."""
        duplicates, self._duplicates = self._duplicates, []
        reported = []
        for each in duplicates:
            if self._runtime.armed(each.injection.kind):
                each.injection.fired(each.evidence)
                reported.append(each.completion)
            else:
                each.injection.refused("healed-first")
        return reported

    def _begin(self, job: TransferJob) -> None:
        if self._copies.is_open(job.id):
            self._runtime.audit.violation(rules.COPY_BEGUN_TWICE, Violation(job=job.id))
        self._copies.begin(job.id)
        self._jobs[job.id] = job
        if self._checksums is not None and job.direction == LOAD:
            self._checksums.load_begins(job.id, self._tier_blocks(job))
        elif self._checksums is not None:
            self._checksums.store_begins(job.id, job.device.block_ids.tolist())

    def _end(self, job_id: int) -> TransferJob | None:
        """End a job in the transfer audit that the worker has finished; None when it had not begun."""
        if not self._copies.end(job_id):
            self._runtime.audit.violation(rules.COPY_NOT_BEGUN, Violation(job=job_id))
            return None
        job = self._jobs.pop(job_id)
        if self._checksums is not None and job.direction == LOAD:
            self._checksums.load_ends(job.id, job.device.block_ids.tolist())
        elif self._checksums is not None:
            self._checksums.store_ends(job.id, self._tier_blocks(job))
        return job

    def _release(self, delayed: _DelayedJob) -> None:
        del self._delayed[delayed.job.id]
        late = time.monotonic() - delayed.since
        self._delays[delayed.job.id] = late
        if not delayed.job.start():
            raise RuntimeError(f"the worker refused delayed job {delayed.job.id}")
        ms = round(late * 1e3, 3)
        delayed.injection.fired(CopyDelayed(job=delayed.job.id, direction=delayed.job.direction, ms=ms))

    def _corrupt(self, job: TransferJob) -> None:
        """Corrupt what a copy wrote: the device's blocks of a load, the tier's blocks of a store."""
        planes, blocks = self._written_blocks(job)
        if not blocks:
            return
        size = self._tier.blocks_per_chunk if job.direction == STORE and self._tier is not None else None
        copied = CopiedBlocks(job.direction, planes, blocks, size, self._memory[job.direction])
        self._runtime.inject(CONTENT, copied, request=job.request, direction=job.direction)
        if copied.damaged and job.direction == STORE and self._checksums is not None:
            self._checksums.damaged(blocks)

    def _written_blocks(self, job: TransferJob) -> tuple[list[Plane], list[int]]:
        """The planes that a finished copy wrote to, and its blocks in them."""
        if job.direction == LOAD:
            return self._device, job.device.block_ids.tolist()
        if self._tier is None:
            return [], []
        return self._tier.own_planes(), self._tier_blocks(job)

    def _tier_blocks(self, job: TransferJob) -> list[int]:
        """The blocks of the tier that a job of known tier copies from or to."""
        assert self._tier is not None
        return blocks_beside(job.device, job.chunks.block_ids.tolist(), self._tier.blocks_per_chunk)


def _ends(completions: Sequence[_Completion]) -> CopyEnds:
    """Jobs, directions and requests in reported order; an unknown request is empty."""
    return CopyEnds(
        jobs=[completion.result.job_id for completion in completions],
        directions=[completion.job.direction if completion.job else "" for completion in completions],
        requests=[(completion.job and completion.job.request) or "" for completion in completions],
    )
