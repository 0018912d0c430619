"""The block tensors of a KV cache as planes, whatever shape a release registers them in."""

from __future__ import annotations

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
