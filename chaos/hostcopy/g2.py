"""Host copies for generation G2 (0.18): a handler for each direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from vllm.platforms import current_platform
from vllm.v1.kv_offload.cpu import CPUOffloadingSpec
from vllm.v1.kv_offload.mediums import CPULoadStoreSpec, GPULoadStoreSpec
from vllm.v1.kv_offload.worker.worker import OffloadingHandler, TransferResult, TransferSpec

from chaos.hostcopy.blocks import expand, planes_by_layer
from chaos.hostcopy.tier import Copied, HostTier

Entry = tuple[type[Any], type[Any], OffloadingHandler]


class StoreHandler(OffloadingHandler):
    """Device to tier. A copy is done when it is submitted."""

    def __init__(self, tier: HostTier) -> None:
        self._tier = tier
        self._finished: list[TransferResult] = []

    def transfer_async(self, job_id: int, spec: TransferSpec) -> bool:
        device, chunks = spec[0].block_ids.tolist(), spec[1].block_ids.tolist()
        blocks = expand(chunks, self._tier.blocks_per_chunk, 0)
        self._finished.append(_result(self._tier.store(job_id, device, blocks), ("GPU", "CPU")))
        return True

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for."""


class LoadHandler(OffloadingHandler):
    """Tier to device. A copy is done when it is submitted."""

    def __init__(self, tier: HostTier) -> None:
        self._tier = tier
        self._finished: list[TransferResult] = []

    def transfer_async(self, job_id: int, spec: TransferSpec) -> bool:
        chunks, device = spec[0].block_ids.tolist(), spec[1].block_ids.tolist()
        factor = self._tier.blocks_per_chunk
        blocks = expand(chunks, factor, -len(device) % factor)
        self._finished.append(_result(self._tier.load(job_id, blocks, device), ("CPU", "GPU")))
        return True

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for."""


def _result(copied: Copied, transfer_type: tuple[str, str]) -> TransferResult:
    return TransferResult(
        job_id=copied.job,
        success=True,
        transfer_size=copied.size,
        transfer_time=copied.seconds,
        transfer_type=transfer_type,
    )


class HostCopySpec(CPUOffloadingSpec):
    """vLLM's CPU offloading, with host copies for the worker on the CPU platform."""

    def get_handlers(self, kv_caches: dict[str, torch.Tensor], attn_backends: Any) -> Iterator[Entry]:
        if not current_platform.is_cpu():
            yield from super().get_handlers(kv_caches, attn_backends)
            return
        tier = HostTier(planes_by_layer(kv_caches), self.num_blocks, self.block_size_factor)
        yield GPULoadStoreSpec, CPULoadStoreSpec, StoreHandler(tier)
        yield CPULoadStoreSpec, GPULoadStoreSpec, LoadHandler(tier)
