"""Managers asked with block hashes (to 0.19). Their iterables can be read only once, hence the lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.managers.stores import StoresUnderWay


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine
        self._stores = StoresUnderWay()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, block_hashes: Iterable[Any]) -> int | None:
        hashes = list(block_hashes)
        hits: int | None = self._inner.lookup(hashes)
        for place in range(hits or 0):
            key = bytes(hashes[place])
            strike = self._engine.strike("lookup_miss", request=runtime.context.request, key=key)
            if strike is not None:
                strike.fired({"key": key.hex(), "hit_blocks": hits, "answered_blocks": place})
                return place
        return hits

    def prepare_store(self, block_hashes: Iterable[Any]) -> Any:
        hashes = list(block_hashes)
        if self._engine.armed("store_refused") and self._stores.refuse(
            self._engine, [key for key in hashes if self._inner.lookup([key]) == 0], None
        ):
            return None
        output = self._inner.prepare_store(hashes)
        if output is not None:
            self._stores.begin(output.block_hashes_to_store)
        return output

    def complete_store(self, block_hashes: Iterable[Any], success: bool = True) -> None:
        hashes = list(block_hashes)
        self._stores.end(hashes)
        self._inner.complete_store(hashes, success)
