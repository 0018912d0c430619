"""The offload tier in host memory, and the copies between it and the KV cache, block by block.

Planes are the block tensors of either, whatever shape a release registers them in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Plane:
    """A tensor whose first dimension is the block: keys or values of a layer, or both."""

    label: str
    tensor: torch.Tensor

    def bytes_of(self, block: int) -> torch.Tensor:
        """The bytes of one block as a flat uint8 view of the cache itself."""
        row = self.tensor[block]
        if not row.is_contiguous():
            raise ValueError(f"plane {self.label}: a block is not contiguous")
        return row.view(torch.uint8).view(-1)

    def block_bytes(self) -> int:
        """Size of one block in this tensor, bytes."""
        return self.tensor[0].numel() * self.tensor.element_size()


def planes_of(kv_caches: Any) -> list[Plane]:
    """Planes of what a release registers: tensors by layer to 0.18, CanonicalKVCaches since."""
    if isinstance(kv_caches, Mapping):
        return planes_by_layer(kv_caches)
    return planes_of_canonical(kv_caches)


def planes_by_layer(kv_caches: Mapping[str, torch.Tensor]) -> list[Plane]:
    """Planes of (2, blocks, ...) tensors by layer, the CPU platform's layout to 0.22: keys, then values."""
    planes = []
    for layer, tensor in kv_caches.items():
        if tensor.ndim < 2 or tensor.shape[0] != 2:
            raise ValueError(f"layer {layer}: unknown KV cache shape {tuple(tensor.shape)}")
        planes += [Plane(f"{layer}/k", tensor[0]), Plane(f"{layer}/v", tensor[1])]
    return planes


def planes_of_canonical(kv_caches: Any) -> list[Plane]:
    """Planes of vLLM's CanonicalKVCaches: int8 tensors of shape (blocks, page bytes)."""
    return [
        Plane(str(index), entry.tensor[:, : entry.page_size_bytes])
        for index, entry in enumerate(kv_caches.tensors)
    ]


def blocks_beside(device: Any, chunks: Sequence[int], blocks_per_chunk: int) -> list[int]:
    """Blocks of the tier that pair with the device blocks of a GPULoadStoreSpec, in the same order.

    `chunks` are those of the tier. The first may be used from its middle on: newer releases say from
    where, older ones (no `block_indices`) always use the last chunk to its end.
    """
    groups = getattr(device, "group_sizes", None)
    if groups is not None and len(groups) != 1:
        raise ValueError(f"{len(groups)} KV cache groups; host copies know one")
    blocks = [chunk * blocks_per_chunk + part for chunk in chunks for part in range(blocks_per_chunk)]
    wanted = len(device.block_ids)
    indices = getattr(device, "block_indices", None)
    if indices is None:
        return blocks[-wanted % blocks_per_chunk :]
    first = indices[0] % blocks_per_chunk
    return blocks[first : first + wanted]


SHORTEST_S = 1e-9
"""vLLM counts no transfer that took no time."""


@dataclass(frozen=True)
class Copied:
    """What a finished copy moved."""

    job: int
    size: int
    """Bytes."""
    seconds: float


class HostTier:
    """Tensors in host memory, one beside each plane of the KV cache, copied block by block."""

    def __init__(self, planes: Sequence[Plane], chunks: int, blocks_per_chunk: int) -> None:
        self.planes = list(planes)
        self.blocks_per_chunk = blocks_per_chunk
        rows = chunks * blocks_per_chunk
        self._rows = [
            torch.zeros((rows, *plane.tensor.shape[1:]), dtype=plane.tensor.dtype) for plane in planes
        ]
        self._pairs = [
            (_bytes(plane.tensor), _bytes(own)) for plane, own in zip(planes, self._rows, strict=True)
        ]
        self._bytes_per_block = sum(plane.block_bytes() for plane in planes)

    def own_planes(self) -> list[Plane]:
        """The tier itself, plane by plane; its blocks are those of its chunks, in order."""
        return [Plane(plane.label, rows) for plane, rows in zip(self.planes, self._rows, strict=True)]

    def store(self, job: int, device: Any, tier: Any) -> Copied:
        """Copy the blocks of a GPULoadStoreSpec into the chunks of a CPULoadStoreSpec."""
        beside = blocks_beside(device, tier.block_ids.tolist(), self.blocks_per_chunk)
        return self._copy(job, self._pairs, device.block_ids.tolist(), beside)

    def load(self, job: int, tier: Any, device: Any) -> Copied:
        """Copy the chunks of a CPULoadStoreSpec into the blocks of a GPULoadStoreSpec."""
        pairs = [(own, cache) for cache, own in self._pairs]
        beside = blocks_beside(device, tier.block_ids.tolist(), self.blocks_per_chunk)
        return self._copy(job, pairs, beside, device.block_ids.tolist())

    def _copy(
        self,
        job: int,
        pairs: Sequence[tuple[Any, Any]],
        source: Sequence[int],
        target: Sequence[int],
    ) -> Copied:
        if len(source) != len(target):
            raise ValueError(f"job {job}: {len(source)} blocks to copy into {len(target)}")
        begin = time.perf_counter()
        for old, new in pairs:
            new[target] = old[source]
        seconds = max(time.perf_counter() - begin, SHORTEST_S)
        return Copied(job, len(source) * self._bytes_per_block, seconds)


def _bytes(tensor: torch.Tensor) -> Any:
    """The memory of a tensor as a numpy array of bytes.

    Torch would copy with all its threads, which wait for each other: a hundred times as long where processors
    are scarce.
    """
    return tensor.view(torch.uint8).numpy()


def make_tier(spec: Any, kv_caches: Any) -> HostTier:
    """The tier that vLLM's CPU offload spec describes, under whichever names its release uses."""
    chunks = spec.num_chunks if hasattr(spec, "num_chunks") else spec.num_blocks
    if hasattr(spec, "blocks_per_chunk"):
        blocks_per_chunk = spec.blocks_per_chunk
    elif hasattr(spec, "block_size_factor"):
        blocks_per_chunk = spec.block_size_factor
    else:
        blocks_per_chunk = spec.offloaded_block_size // spec.gpu_block_size
    return HostTier(planes_of(kv_caches), chunks, blocks_per_chunk)
