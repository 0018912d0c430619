"""Managers asked with block hashes (to 0.19). Their iterables can be read only once, hence the lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.ledger.residents import Residents
from chaos.inside.managers.lost import LostBlocks
from chaos.inside.managers.pressure import Pressure
from chaos.inside.managers.residency import Residency
from chaos.inside.managers.stores import BlocksUnderWay, StoresUnderWay
from chaos.inside.raising import call_of_manager
from history.protocol.evidence import BlockLookup, EvictedAfterHit, LookupMissed


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine
        lost = LostBlocks()
        self._stores = StoresUnderWay(lost)
        self._residents = Residents(engine.ledger)
        self._loads = BlocksUnderWay()
        self._residency = Residency(engine, Pressure(self._make_room, self._drop, bytes), lost)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, block_hashes: Iterable[Any]) -> int | None:
        call_of_manager(self._engine, "lookup", runtime.context.request)
        self._residency.heal()
        hashes = list(block_hashes)
        hits: int | None = self._inner.lookup(hashes)
        if hits is None:
            return None
        for place in range(hits):
            key, request = bytes(hashes[place]), runtime.context.request
            if strike := self._engine.strike("lookup_miss", request=request, key=key):
                strike.fired(LookupMissed(key=key.hex(), hit_blocks=hits, answered_blocks=place))
                return place
            if strike := self._engine.strike("lookup_retry", request=request, key=key):
                strike.fired(BlockLookup(key=key.hex()))
                return None
            if strike := self._engine.strike("evict_after_hit", request=request, key=key):
                strike.fired(EvictedAfterHit(key=key.hex(), blocks=len(self._residency.empty())))
        return hits + self._over_reported(hashes[hits:])

    def _over_reported(self, missing: list[Any]) -> int:
        """How many of the blocks after the hits are claimed all the same: the first or none."""
        if not missing:
            return 0
        key = bytes(missing[0])
        strike = self._engine.strike("over_report", request=runtime.context.request, key=key)
        if strike is None:
            return 0
        strike.fired(BlockLookup(key=key.hex()))
        return 1

    def prepare_load(self, block_hashes: Iterable[Any]) -> Any:
        hashes, request = list(block_hashes), runtime.context.request
        call_of_manager(self._engine, "prepare_load", request)
        self._loads.begin(hashes, request)
        spec = self._inner.prepare_load(hashes)
        self._residents.load_begins(hashes, spec)
        if self._engine.provenance is not None:
            self._engine.provenance.load_begins(hashes)
        return spec

    def complete_load(self, block_hashes: Iterable[Any]) -> None:
        hashes = list(block_hashes)
        call_of_manager(self._engine, "complete_load", self._loads.end(hashes))
        self._inner.complete_load(hashes)
        self._residents.load_ends(hashes)

    def prepare_store(self, block_hashes: Iterable[Any]) -> Any:
        hashes, request = list(block_hashes), runtime.context.request
        call_of_manager(self._engine, "prepare_store", request)
        self._residency.heal()
        self._residency.before_store(request)
        if self._engine.armed("store_refused") and self._stores.refuse(
            self._engine, [key for key in hashes if self._inner.lookup([key]) == 0], request
        ):
            return None
        output = self._inner.prepare_store(hashes)
        if output is not None:
            self._stores.begin(output.block_hashes_to_store, request)
            self._residents.store_begins(
                output.block_hashes_to_store, output.store_spec, output.block_hashes_evicted
            )
            if self._engine.provenance is not None:
                self._engine.provenance.store_begins(
                    request, output.block_hashes_to_store, output.store_spec.block_ids.tolist()
                )
        return output

    def complete_store(self, block_hashes: Iterable[Any], success: bool = True) -> None:
        hashes = list(block_hashes)
        request = self._stores.end(hashes)
        call_of_manager(self._engine, "complete_store", request)
        success = success and not self._stores.fail(self._engine, hashes, request)
        self._inner.complete_store(hashes, success)
        self._residents.store_ends(hashes, success=success)

    def _make_room(self, hashes: list[Any]) -> list[Any] | None:
        output = self._inner.prepare_store(hashes)
        if output is None:
            return None
        self._residents.evicted(output.block_hashes_evicted)
        return list(output.block_hashes_evicted)

    def _drop(self, hashes: list[Any]) -> None:
        self._inner.complete_store(hashes, False)
