"""Which blocks are being copied for whom, which of a store are new, and the faults of such a store."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from chaos.inside.engine import FaultEngine
from chaos.inside.managers.lost import LostBlocks
from history.protocol.evidence import TierBlocks


class BlocksUnderWay:
    """Blocks of copies that have begun and not ended."""

    def __init__(self) -> None:
        self._blocks: dict[Any, str | None] = {}
        """With the request that brought them."""

    def begin(self, blocks: Iterable[Any], request: str | None) -> None:
        self._blocks.update(dict.fromkeys(blocks, request))

    def end(self, blocks: Iterable[Any]) -> str | None:
        """The request that brought these blocks, where that is known."""
        requests = [self._blocks.pop(block, None) for block in blocks]
        return next(filter(None, requests), None)

    def forget(self) -> None:
        """The tier was emptied: nothing of what was under way will be told to end."""
        self._blocks.clear()


class StoresUnderWay(BlocksUnderWay):
    """Blocks of stores. Some releases' lookups do not find them, and yet they are not new."""

    def __init__(self, lost: LostBlocks) -> None:
        super().__init__()
        self._lost = lost

    def begin(self, blocks: Iterable[Any], request: str | None) -> None:
        blocks = list(blocks)
        self._lost.stored(blocks)
        super().begin(blocks, request)

    def fail(self, engine: FaultEngine, blocks: Collection[Any], request: str | None) -> bool:
        """Whether a finished store is told as failed."""
        strike = engine.strike("store_failed", request=request) if blocks else None
        if strike is not None:
            strike.fired(TierBlocks(blocks=len(blocks), key=bytes(next(iter(blocks))).hex()))
            self._lost.lose(blocks, strike)
        return strike is not None

    def refuse(self, engine: FaultEngine, missing: Collection[Any], request: str | None) -> bool:
        """Whether a store is refused, of whose blocks a lookup misses these."""
        new = [block for block in missing if block not in self._blocks]
        strike = engine.strike("store_refused", request=request) if new else None
        if strike is not None:
            strike.fired(TierBlocks(blocks=len(new), key=bytes(new[0]).hex()))
        return strike is not None
