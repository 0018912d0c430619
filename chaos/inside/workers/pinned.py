"""The tier of vLLM's own workers on a GPU: the host tensors that its copies write to and read from.

vLLM tells a copy's end only after its CUDA event, so what is read or changed then cannot race the copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from chaos.hostcopy.tier import Plane


@dataclass(frozen=True)
class PinnedTier:
    """Host tensors by plane, one row a block."""

    planes: tuple[Plane, ...]
    blocks_per_chunk: int

    def own_planes(self) -> list[Plane]:
        """The host tensors, one row a block."""
        return list(self.planes)


def pinned_tier(store_handler: Any) -> PinnedTier | None:
    """The tier behind vLLM's handler of stores.

    None where its rows are no plain images of the device's blocks: pages in canonical layout, and chunks
    of several blocks that do not lie side by side.
    """
    if getattr(store_handler, "_canonical_copy_plans", None) is not None:
        return None
    per_chunk = _first_of(store_handler, "dst_blocks_per_chunk", "dst_block_size_factor")
    sizes = _block_bytes(store_handler)
    planes = []
    for index, (tensor, size) in enumerate(zip(store_handler.dst_tensors, sizes, strict=True)):
        rows = _rows(tensor, size)
        if rows is None:
            return None
        planes.append(Plane(str(index), rows))
    return PinnedTier(tuple(planes), per_chunk)


def _block_bytes(store_handler: Any) -> list[int]:
    """Bytes of one block in each tensor."""
    sizes = getattr(store_handler, "block_size_in_bytes", None)  # to 0.18
    if sizes is not None:
        return list(sizes)
    return [int(tensor.shape[1]) for tensor in store_handler.src_tensors]


def _rows(tensor: torch.Tensor, size: int) -> torch.Tensor | None:
    """The tensor as (blocks, bytes), without a copy."""
    if tensor.ndim == 2 and tensor.dtype == torch.int8 and tensor.shape[1] == size:
        return tensor
    if not tensor.is_contiguous():
        return None
    return tensor.view(torch.int8).view(-1, size)


def _first_of(owner: Any, *names: str) -> int:
    return next(int(getattr(owner, name)) for name in names if hasattr(owner, name))
