"""The tier of vLLM's own GPU worker is found in the real class. Nothing is copied: there is no GPU."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

from chaos.inside.workers.pinned import pinned_tier
from tests.server.contract.bench import CHUNKS, Bench

BLOCKS = 12
HEADS, TOKENS, WIDTH = 2, 16, 8
PAGE_BYTES = 4096


class _OnDevice(torch.Tensor):
    """Passes for a tensor on a GPU, as far as vLLM's constructors look."""

    is_cuda = property(lambda self: True)


def the_pinned_tier_is_found_in_vllms_own_worker(bench: Bench) -> None:
    for per_chunk in (1, 2):
        handler = _store_handler(per_chunk)
        tier = pinned_tier(handler)
        assert tier is not None
        assert tier.blocks_per_chunk == per_chunk
        planes = tier.own_planes()
        assert len(planes) == len(handler.dst_tensors)
        for plane, tensor in zip(planes, handler.dst_tensors, strict=True):
            assert plane.tensor.shape[0] == CHUNKS * per_chunk
            assert plane.tensor.data_ptr() == tensor.data_ptr(), "a copy of the tier, not the tier"
            assert plane.tensor.numel() == tensor.numel() * tensor.element_size()


def a_tier_in_another_layout_is_not_taken_for_plain_blocks(bench: Bench) -> None:
    handler = _store_handler(1)
    handler._canonical_copy_plans = [[]]
    assert pinned_tier(handler) is None


def _store_handler(per_chunk: int) -> Any:
    """vLLM's handler of stores, built by its own constructor."""
    module = _module("cpu.gpu_worker") or _module("worker.cpu_gpu")
    if hasattr(module, "CPUOffloadingWorker"):  # 0.25 on
        return module.CPUOffloadingWorker(_canonical_caches(), per_chunk, CHUNKS)._store_handler
    if hasattr(module, "CanonicalKVCaches"):  # 0.19 on
        return module.CpuGpuOffloadingHandlers(_canonical_caches(), per_chunk, CHUNKS).gpu_to_cpu_handler
    return module.CpuGpuOffloadingHandlers(
        gpu_block_size=TOKENS,
        cpu_block_size=TOKENS * per_chunk,
        num_cpu_blocks=CHUNKS,
        gpu_caches={"layer": torch.zeros((2, BLOCKS, HEADS, TOKENS, WIDTH)).as_subclass(_OnDevice)},
        attn_backends={"layer": SimpleNamespace(get_kv_cache_shape=_shape)},
    ).gpu_to_cpu_handler


def _shape(num_blocks: int, block_size: int, num_kv_heads: int, head_size: int) -> tuple[int, ...]:
    """The shape of a KV cache tensor with keys and values in separate planes."""
    return 2, num_blocks, num_kv_heads, block_size, head_size


def _canonical_caches() -> Any:
    """The canonical KV caches of this release."""
    from chaos.hostcopy.generation import detect

    module = import_module(detect().offered("CanonicalKVCaches").__module__)
    tensors = [torch.zeros((BLOCKS, PAGE_BYTES), dtype=torch.int8).as_subclass(_OnDevice) for _ in range(2)]
    return module.CanonicalKVCaches(
        [module.CanonicalKVCacheTensor(tensor, PAGE_BYTES) for tensor in tensors],
        [[module.CanonicalKVCacheRef(index, PAGE_BYTES) for index in range(2)]],
    )


def _module(name: str) -> Any:
    """A module of vLLM's offloading, None in a release without it."""
    try:
        return import_module(f"vllm.v1.kv_offload.{name}")
    except ModuleNotFoundError:
        return None


CHECKS = (
    the_pinned_tier_is_found_in_vllms_own_worker,
    a_tier_in_another_layout_is_not_taken_for_plain_blocks,
)
