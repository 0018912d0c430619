"""Which blocks are being copied for whom, which of a store are new, and the faults of such a store."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.managers.removed_blocks import RemovedBlocks
from history.protocol.evidence import TierBlocks


class BlocksInFlight:
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
        """The tier was emptied: vLLM will not report the ends of these copies."""
        self._blocks.clear()


class StoresInFlight(BlocksInFlight):
    """Blocks of stores. Some releases' lookups do not find them, and yet they are not new."""

    def __init__(self, removed: RemovedBlocks) -> None:
        super().__init__()
        self._removed = removed

    def begin(self, blocks: Iterable[Any], request: str | None) -> None:
        blocks = list(blocks)
        self._removed.stored(blocks)
        super().begin(blocks, request)

    def fail(self, runtime: FaultRuntime, blocks: Collection[Any], request: str | None) -> bool:
        """Whether to report a finished store as failed."""
        injection = runtime.evaluate("store_failed", request=request) if blocks else None
        if injection is not None:
            injection.fired(TierBlocks(blocks=len(blocks), key=bytes(next(iter(blocks))).hex()))
            self._removed.record(blocks, injection)
        return injection is not None

    def refuse(self, runtime: FaultRuntime, missing: Collection[Any], request: str | None) -> bool:
        """Whether to refuse a store; `missing` are its blocks that a lookup does not find."""
        new = [block for block in missing if block not in self._blocks]
        injection = runtime.evaluate("store_refused", request=request) if new else None
        if injection is not None:
            injection.fired(TierBlocks(blocks=len(new), key=bytes(new[0]).hex()))
        return injection is not None
