"""Blocks that a fault took from the tier, until the server stores them again: it missed them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside.engine import Strike
from history.protocol.notes import BlockStoredAgain


class LostBlocks:
    """Remembers who took a block. Of each strike the first block that is stored again is noted."""

    def __init__(self) -> None:
        self._by_block: dict[Any, Strike] = {}

    def lose(self, blocks: Iterable[Any], strike: Strike) -> None:
        self._by_block.update(dict.fromkeys(blocks, strike))

    def stored(self, blocks: Iterable[Any]) -> None:
        """The server begins to store these blocks."""
        if not self._by_block:
            return
        for block in blocks:
            strike = self._by_block.pop(block, None)
            if strike is not None:
                strike.note(BlockStoredAgain(key=bytes(block).hex()))
