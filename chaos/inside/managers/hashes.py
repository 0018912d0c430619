"""Managers whose calls take block hashes (to 0.19). Each iterable can be read only once, hence the lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside import process_globals
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.managers.tier_faults import (
    BlocksInFlight,
    Pressure,
    RemovedBlocks,
    StoresInFlight,
    TierFaults,
    before_manager_call,
)
from chaos.inside.transfer_audit.audit_log import ShadowTier
from history.protocol.evidence import BlockLookup, EvictedAfterHit, LookupMissed


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, runtime: FaultRuntime) -> None:
        self._inner = inner
        self._runtime = runtime
        removed = RemovedBlocks()
        self._stores = StoresInFlight(removed)
        self._shadow_tier = ShadowTier(runtime.audit)
        self._loads = BlocksInFlight()
        self._tier_faults = TierFaults(runtime, Pressure(self._make_room, self._drop, bytes), removed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, block_hashes: Iterable[Any]) -> int | None:
        before_manager_call(self._runtime, "lookup", process_globals.context.request)
        self._tier_faults.heal()
        hashes = list(block_hashes)
        hits: int | None = self._inner.lookup(hashes)
        if hits is None:
            return None
        for index in range(hits):
            key, request = bytes(hashes[index]), process_globals.context.request
            if injection := self._runtime.evaluate("lookup_miss", request=request, key=key):
                injection.fired(LookupMissed(key=key.hex(), hit_blocks=hits, answered_blocks=index))
                return index
            if injection := self._runtime.evaluate("lookup_retry", request=request, key=key):
                injection.fired(BlockLookup(key=key.hex()))
                return None
            if injection := self._runtime.evaluate("evict_after_hit", request=request, key=key):
                injection.fired(EvictedAfterHit(key=key.hex(), blocks=len(self._tier_faults.empty())))
        return hits + self._over_reported(hashes[hits:])

    def _over_reported(self, missing: list[Any]) -> int:
        """How many of the blocks after the hits are claimed all the same: the first or none."""
        if not missing:
            return 0
        key = bytes(missing[0])
        injection = self._runtime.evaluate("over_report", request=process_globals.context.request, key=key)
        if injection is None:
            return 0
        injection.fired(BlockLookup(key=key.hex()))
        return 1

    def prepare_load(self, block_hashes: Iterable[Any]) -> Any:
        hashes, request = list(block_hashes), process_globals.context.request
        before_manager_call(self._runtime, "prepare_load", request)
        self._loads.begin(hashes, request)
        spec = self._inner.prepare_load(hashes)
        self._shadow_tier.load_begins(hashes, spec)
        if self._runtime.provenance is not None:
            self._runtime.provenance.load_begins(hashes)
        return spec

    def complete_load(self, block_hashes: Iterable[Any]) -> None:
        hashes = list(block_hashes)
        before_manager_call(self._runtime, "complete_load", self._loads.end(hashes))
        self._inner.complete_load(hashes)
        self._shadow_tier.load_ends(hashes)

    def prepare_store(self, block_hashes: Iterable[Any]) -> Any:
        hashes, request = list(block_hashes), process_globals.context.request
        before_manager_call(self._runtime, "prepare_store", request)
        self._tier_faults.heal()
        self._tier_faults.before_store(request)
        if self._runtime.armed("store_refused") and self._stores.refuse(
            self._runtime, [key for key in hashes if self._inner.lookup([key]) == 0], request
        ):
            return None
        output = self._inner.prepare_store(hashes)
        if output is not None:
            self._stores.begin(output.block_hashes_to_store, request)
            self._shadow_tier.store_begins(
                output.block_hashes_to_store, output.store_spec, output.block_hashes_evicted
            )
            if self._runtime.provenance is not None:
                self._runtime.provenance.store_begins(
                    request, output.block_hashes_to_store, output.store_spec.block_ids.tolist()
                )
        return output

    def complete_store(self, block_hashes: Iterable[Any], success: bool = True) -> None:
        hashes = list(block_hashes)
        request = self._stores.end(hashes)
        before_manager_call(self._runtime, "complete_store", request)
        success = success and not self._stores.fail(self._runtime, hashes, request)
        self._inner.complete_store(hashes, success)
        self._shadow_tier.store_ends(hashes, success=success)

    def _make_room(self, hashes: list[Any]) -> list[Any] | None:
        output = self._inner.prepare_store(hashes)
        if output is None:
            return None
        self._shadow_tier.evicted(output.block_hashes_evicted)
        return list(output.block_hashes_evicted)

    def _drop(self, hashes: list[Any]) -> None:
        self._inner.complete_store(hashes, False)
