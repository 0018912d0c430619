"""A model of the offload tier, and managers on top of it that answer as those of the releases do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.support.plugin_shapes import Files, put

Key = bytes


@dataclass
class Block:
    """A block of the modelled offload tier."""

    ready: bool = False
    """Its store has ended."""
    readers: int = 0
    """Loads under way."""
    chunk: int = 0


@dataclass
class Tier:
    """Blocks in order of their use, the least recently used first. What is idle may have to go."""

    room: int
    blocks: dict[Key, Block] = field(default_factory=dict)
    later: bool = False
    """Lookups are put off."""

    def ready(self, key: Key) -> bool:
        return key in self.blocks and self.blocks[key].ready

    def idle(self) -> list[Key]:
        return [key for key, block in self.blocks.items() if block.ready and not block.readers]

    def drop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            del self.blocks[key]

    def prepare(self, keys: Sequence[Key]) -> tuple[list[Key], list[Key]] | None:
        """Take the new ones of these blocks in; those and the evicted ones, or None when there is no room."""
        new = [key for key in keys if key not in self.blocks]
        missing = max(0, len(new) - (self.room - len(self.blocks)))
        can_go = [key for key in self.idle() if key not in keys]
        if missing > len(can_go):
            return None
        gone = can_go[:missing]
        self.drop(gone)
        taken = {block.chunk for block in self.blocks.values()}
        free = [chunk for chunk in range(self.room) if chunk not in taken]
        self.blocks.update((key, Block(chunk=chunk)) for key, chunk in zip(new, free, strict=False))
        return new, gone

    def spec(self, keys: Iterable[Key]) -> SimpleNamespace:
        """Where these blocks lie, as a CPULoadStoreSpec says it."""
        return SimpleNamespace(block_ids=np.array([self.blocks[key].chunk for key in keys], dtype=np.int64))

    def complete(self, keys: Iterable[Key], success: bool) -> None:
        for key in keys:
            if success:
                self.blocks[key].ready = True
            elif not self.blocks[key].ready:
                del self.blocks[key]

    def touch(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key in self.blocks:
                self.blocks[key] = self.blocks.pop(key)

    def read(self, keys: Iterable[Key], readers: int) -> None:
        """Begin loads (1) or end them (-1)."""
        for key in keys:
            assert self.ready(key), "a block is loaded that is not there"
            self.blocks[key].readers += readers


class HashManager:
    """As to 0.19: hashes come in iterables that can be read once."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier

    def lookup(self, block_hashes: Iterable[Key]) -> int | None:
        hashes = list(block_hashes)
        if self.tier.later:
            return None
        return next((n for n, key in enumerate(hashes) if not self.tier.ready(key)), len(hashes))

    def prepare_store(self, block_hashes: Iterable[Key]) -> Any:
        taken = self.tier.prepare(list(block_hashes))
        return taken and SimpleNamespace(
            block_hashes_to_store=taken[0], block_hashes_evicted=taken[1], store_spec=self.tier.spec(taken[0])
        )

    def complete_store(self, block_hashes: Iterable[Key], success: bool = True) -> None:
        self.tier.complete(block_hashes, success)

    def prepare_load(self, block_hashes: Iterable[Key]) -> Any:
        hashes = list(block_hashes)
        self.tier.read(hashes, 1)
        return self.tier.spec(hashes)

    def complete_load(self, block_hashes: Iterable[Key]) -> None:
        self.tier.read(block_hashes, -1)

    def touch(self, block_hashes: Iterable[Key]) -> None:
        self.tier.touch(block_hashes)


class KeyedManager:
    """What is asked alike from 0.20 on: keys, one by one, with the request's context."""

    hit: Any = True
    miss: Any = False
    pending: Any = False
    retry: Any = None

    def __init__(self, tier: Tier) -> None:
        self.tier = tier

    def lookup(self, key: Key, req_context: Any) -> Any:
        if self.tier.later:
            return self.retry
        if self.tier.ready(key):
            return self.hit
        return self.pending if key in self.tier.blocks else self.miss

    def prepare_store(self, keys: Iterable[Key], req_context: Any) -> Any:
        taken = self.tier.prepare(list(keys))
        return taken and SimpleNamespace(
            keys_to_store=taken[0], evicted_keys=taken[1], store_spec=self.tier.spec(taken[0])
        )

    def prepare_load(self, keys: Iterable[Key], req_context: Any) -> Any:
        keys = list(keys)
        self.tier.read(keys, 1)
        return self.tier.spec(keys)


class KeyManager(KeyedManager):
    """As in 0.20: a block that is being written is missing."""

    def complete_store(self, keys: Iterable[Key], success: bool = True) -> None:
        self.tier.complete(keys, success)

    def complete_load(self, keys: Iterable[Key]) -> None:
        self.tier.read(keys, -1)

    def touch(self, keys: Iterable[Key]) -> None:
        self.tier.touch(keys)


class NewKeyManager(KeyedManager):
    """As in 0.32: the context in every call, and a word of its own for a block that is being written."""

    def complete_store(self, keys: Iterable[Key], req_context: Any, success: bool = True) -> None:
        self.tier.complete(keys, success)

    def complete_load(self, keys: Iterable[Key], req_context: Any) -> None:
        self.tier.read(keys, -1)

    def touch(self, keys: Iterable[Key], req_context: Any) -> None:
        self.tier.touch(keys)


OLD_CONTEXT = """
from dataclasses import dataclass
@dataclass
class ReqContext:
    kv_transfer_params: object = None
"""
NEW_CONTEXT = f"{OLD_CONTEXT}    req_id: str = ''\n"
ANSWERS = """
from enum import Enum, auto
class LookupResult(Enum):
    MISS = auto()
    HIT = auto()
    HIT_PENDING = auto()
    RETRY = auto()
"""


@contextmanager
def installed(files: Files, folder: Path) -> Iterator[None]:
    """A vLLM of this shape is installed, and no module that has met another one is known."""
    put(files, folder)
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("chaos", "vllm")}
    for name in kept:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] in ("chaos", "vllm")]:
            del sys.modules[name]
        sys.modules.update(kept)
