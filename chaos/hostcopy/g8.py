"""Host copies for generation G8 (0.26 to 0.32): one worker with a method for each direction."""

from __future__ import annotations

from typing import Any

from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec

from chaos.hostcopy.blocks import expand, planes_of_canonical
from chaos.hostcopy.tier import Copied, HostTier


class HostCopyWorker(OffloadingWorker):
    """Copies are done when they are submitted. One KV cache group, as dense models have on the CPU."""

    def __init__(self, tier: HostTier) -> None:
        self._tier = tier
        self._finished: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        device, chunks = src_spec.block_ids.tolist(), dst_spec.block_ids.tolist()
        blocks = self._blocks(chunks, src_spec, len(device))
        self._finished.append(_result(self._tier.store(job_id, device, blocks)))
        return True

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        chunks, device = src_spec.block_ids.tolist(), dst_spec.block_ids.tolist()
        blocks = self._blocks(chunks, dst_spec, len(device))
        self._finished.append(_result(self._tier.load(job_id, blocks, device)))
        return True

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for."""

    def _blocks(self, chunks: list[int], device_spec: Any, wanted: int) -> list[int]:
        if len(device_spec.group_sizes) != 1:
            raise ValueError(f"{len(device_spec.group_sizes)} KV cache groups; host copies know one")
        factor = self._tier.blocks_per_chunk
        return expand(chunks, factor, device_spec.block_indices[0] % factor)[:wanted]


def _result(copied: Copied) -> TransferResult:
    return TransferResult(
        job_id=copied.job, success=True, transfer_size=copied.size, transfer_time=copied.seconds
    )


class HostCopySpec(CPUOffloadingSpec):
    """vLLM's CPU offloading, with host copies for the worker on the CPU platform."""

    _worker: OffloadingWorker | None

    def get_worker(self, kv_caches: Any) -> OffloadingWorker:
        if not current_platform.is_cpu():
            return super().get_worker(kv_caches)
        if self._worker is None:
            chunks = self.num_chunks if hasattr(self, "num_chunks") else self.num_blocks
            tier = HostTier(planes_of_canonical(kv_caches), chunks, self.blocks_per_chunk)
            self._worker = HostCopyWorker(tier)
        return self._worker
