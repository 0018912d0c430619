"""Blocks that a fault removed from the tier, until the server stores them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside.fault_runtime import Injection
from history.protocol.notes import BlockStoredAgain


class RemovedBlocks:
    """Maps each block to the injection that removed it. Each injection notes its first block stored again."""

    def __init__(self) -> None:
        self._by_block: dict[Any, Injection] = {}

    def record(self, blocks: Iterable[Any], injection: Injection) -> None:
        self._by_block.update(dict.fromkeys(blocks, injection))

    def stored(self, blocks: Iterable[Any]) -> None:
        """The server begins to store these blocks."""
        if not self._by_block:
            return
        for block in blocks:
            injection = self._by_block.pop(block, None)
            if injection is not None:
                injection.note(BlockStoredAgain(key=bytes(block).hex()))
