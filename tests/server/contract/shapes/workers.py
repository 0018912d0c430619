"""One interface to copies by handlers (older vLLM) or by a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from chaos.hostcopy.generation import detect
from chaos.hostcopy.tier import Plane
from tests.server.contract.shapes.caches import Cache, make_cache
from tests.server.contract.shapes.transfers import device_blocks, tier_chunks


@dataclass(frozen=True)
class Finished:
    """A finished copy."""

    success: bool
    size: int
    seconds: float


class Submit(Protocol):
    """How copies are submitted; whether one was taken."""

    worker: Any

    def store(self, job: int, device: Any, tier: Any) -> bool: ...
    def load(self, job: int, tier: Any, device: Any) -> bool: ...


class ToHandlers:
    """A handler for each direction, behind vLLM's own router between them (to 0.24)."""

    def __init__(self, spec: Any, cache: Cache) -> None:
        self.worker = detect().offered("OffloadingWorker")()
        for source, target, handler in spec.get_handlers(*cache.registered):
            self.worker.register_handler(source, target, handler)

    def store(self, job: int, device: Any, tier: Any) -> bool:
        return bool(self.worker.transfer_async(job, (device, tier)))

    def load(self, job: int, tier: Any, device: Any) -> bool:
        return bool(self.worker.transfer_async(job, (tier, device)))


class ToWorker:
    """One worker with a method for each direction (0.25 on)."""

    def __init__(self, spec: Any, cache: Cache) -> None:
        self.worker = spec.get_worker(*cache.registered)

    def store(self, job: int, device: Any, tier: Any) -> bool:
        return bool(self.worker.submit_store(job, device, tier))

    def load(self, job: int, tier: Any, device: Any) -> bool:
        return bool(self.worker.submit_load(job, tier, device))


class Copies:
    """A device cache, and the worker or handlers that copy between it and the tier."""

    def __init__(self, spec: Any) -> None:
        self._spec = spec
        self._cache = make_cache()
        self._to: Submit = (ToWorker if hasattr(spec, "get_worker") else ToHandlers)(spec, self._cache)

    def planes(self) -> list[torch.Tensor]:
        """Bytes of the device cache by plane, (BLOCKS, bytes), as views of it."""
        return self._cache.planes()

    def paddings(self) -> list[torch.Tensor]:
        """Bytes beside the blocks that nobody may touch; empty where the layout has none."""
        return self._cache.paddings()

    def tier(self) -> list[Plane]:
        """The tier itself."""
        planes: list[Plane] = self._spec.host_tier.own_planes()
        return planes

    def store(self, job: int, blocks: Sequence[int], chunks: Sequence[int]) -> bool:
        return self._to.store(job, device_blocks(blocks, None), tier_chunks(chunks))

    def load(self, job: int, chunks: Sequence[int], blocks: Sequence[int], first: int = 0) -> bool:
        """Load into these blocks, from block `first` of the chunks on."""
        return self._to.load(job, tier_chunks(chunks), device_blocks(blocks, first))

    def collect_finished(self) -> list[tuple[int, Finished]]:
        """The jobs that vLLM's worker now reports as finished, in its order."""
        return [
            (result.job_id, Finished(result.success, result.transfer_size, result.transfer_time))
            for result in self._to.worker.get_finished()
        ]

    def wait(self, jobs: set[int]) -> None:
        self._to.worker.wait(jobs)
