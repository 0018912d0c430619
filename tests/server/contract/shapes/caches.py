"""Device caches in the layouts that releases register them in."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch

from chaos.hostcopy.generation import detect

BLOCKS = 12
"""Blocks on the device."""
BLOCK_SIZE = 4
"""Tokens of a block."""
LAYERS = ("layers.0", "layers.1")
PAGE_BYTES = 4096
"""Bytes of a block in one layer. vLLM rounds a chunk's bytes up to as many, from 0.27 on."""
HEADS, HEAD_SIZE = 2, 64
PADDING = 64
"""Bytes before and after each block."""


class Cache(Protocol):
    """A device cache of BLOCKS blocks."""

    registered: tuple[Any, ...]
    """The arguments with which the spec makes its worker or handlers."""

    def planes(self) -> list[torch.Tensor]:
        """Bytes of the blocks by plane, (BLOCKS, bytes), as views of the cache."""

    def paddings(self) -> list[torch.Tensor]:
        """Bytes beside the blocks that nobody may touch; empty where the layout has none."""


class LayerCache:
    """A tensor (2, blocks, heads, tokens, head size) for each layer: keys, then values (to 0.18)."""

    def __init__(self) -> None:
        shape = (2, BLOCKS, HEADS, BLOCK_SIZE, HEAD_SIZE)
        self._layers = {layer: torch.zeros(shape, dtype=torch.float32) for layer in LAYERS}
        self.registered: tuple[Any, ...] = (self._layers, {})

    def planes(self) -> list[torch.Tensor]:
        halves = [layer[half] for layer in self._layers.values() for half in range(2)]
        return [half.view(torch.uint8).view(BLOCKS, -1) for half in halves]

    def paddings(self) -> list[torch.Tensor]:
        return []


class CanonicalCache:
    """CanonicalKVCaches: views (blocks, page bytes) of larger tensors, one for each layer (0.19 on)."""

    def __init__(self) -> None:
        width = PADDING + PAGE_BYTES + PADDING
        self._rows = [torch.zeros((BLOCKS, width), dtype=torch.int8) for _ in LAYERS]
        tensor, reference, caches = (
            detect().offered(name)
            for name in ("CanonicalKVCacheTensor", "CanonicalKVCacheRef", "CanonicalKVCaches")
        )
        # The view is wider than the page, so that only its first bytes are the block's.
        tensors = [tensor(rows[:, PADDING:], PAGE_BYTES) for rows in self._rows]
        references = [reference(index, PAGE_BYTES) for index in range(len(LAYERS))]
        self.registered: tuple[Any, ...] = (caches(tensors=tensors, group_data_refs=[references]),)

    def planes(self) -> list[torch.Tensor]:
        return [rows.view(torch.uint8)[:, PADDING : PADDING + PAGE_BYTES] for rows in self._rows]

    def paddings(self) -> list[torch.Tensor]:
        bytes_of = [rows.view(torch.uint8) for rows in self._rows]
        return [rows[:, :PADDING] for rows in bytes_of] + [rows[:, -PADDING:] for rows in bytes_of]


def make_cache() -> Cache:
    """In the layout that the installed spec takes."""
    spec = detect().offered("CPUOffloadingSpec")
    parameters = inspect.signature(getattr(spec, "get_worker", None) or spec.get_handlers).parameters
    return LayerCache() if "attn_backends" in parameters else CanonicalCache()
