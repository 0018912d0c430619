"""Managers whose calls take keys and the request's context (0.20 on)."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
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
from chaos.inside.process_globals import managers_receive_request_id
from chaos.inside.transfer_audit.audit_log import ShadowTier
from history.protocol.evidence import BlockLookup, EvictedAfterHit, LookupMissed

API = import_module(detect().offered("OffloadingManager").__module__)


def _answers() -> tuple[Any, Any, Any]:
    """The results of a lookup: the block can be loaded, it is missing, retry later."""
    if hasattr(API, "LookupResult"):
        return API.LookupResult.HIT, API.LookupResult.MISS, API.LookupResult.RETRY
    return True, False, None


HIT, MISS, RETRY = _answers()
OWN_REQUEST = "kvchaos"
"""Request id of blocks that no request of a client brought."""


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, runtime: FaultRuntime) -> None:
        self._inner = inner
        self._runtime = runtime
        removed = RemovedBlocks()
        self._stores = StoresInFlight(removed)
        self._shadow_tier = ShadowTier(runtime.audit)
        self._loads = BlocksInFlight()
        self._context = _own_context()
        self._ending = inspect.signature(inner.complete_store)
        self._tier_faults = TierFaults(runtime, Pressure(self._make_room, self._drop, _own_key), removed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: Any, req_context: Any) -> Any:
        before_manager_call(self._runtime, "lookup", _request(req_context))
        self._tier_faults.heal()
        answer = self._inner.lookup(key, req_context)
        request, raw = _request(req_context), bytes(key)
        if answer is HIT:
            if injection := self._runtime.evaluate("lookup_miss", request=request, key=raw):
                injection.fired(LookupMissed(key=raw.hex(), hit_blocks=1, answered_blocks=0))
                return MISS
            if injection := self._runtime.evaluate("lookup_retry", request=request, key=raw):
                injection.fired(BlockLookup(key=raw.hex()))
                return RETRY
            if injection := self._runtime.evaluate("evict_after_hit", request=request, key=raw):
                injection.fired(EvictedAfterHit(key=raw.hex(), blocks=len(self._tier_faults.empty())))
        elif answer is MISS and (
            injection := self._runtime.evaluate("over_report", request=request, key=raw)
        ):
            injection.fired(BlockLookup(key=raw.hex()))
            return HIT
        return answer

    def prepare_load(self, keys: Collection[Any], req_context: Any) -> Any:
        keys, request = list(keys), _request(req_context)
        before_manager_call(self._runtime, "prepare_load", request)
        self._loads.begin(keys, request)
        spec = self._inner.prepare_load(keys, req_context)
        self._shadow_tier.load_begins(keys, spec)
        if self._runtime.provenance is not None:
            self._runtime.provenance.load_begins(keys)
        return spec

    def complete_load(self, keys: Collection[Any], *more: Any) -> None:
        """`more` has the request's context from 0.21 on."""
        before_manager_call(self._runtime, "complete_load", self._loads.end(keys))
        self._inner.complete_load(keys, *more)
        self._shadow_tier.load_ends(keys)

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        keys, request = list(keys), _request(req_context)
        before_manager_call(self._runtime, "prepare_store", request)
        self._tier_faults.heal()
        self._tier_faults.before_store(request)
        if self._runtime.armed("store_refused") and self._stores.refuse(
            self._runtime,
            [key for key in keys if self._inner.lookup(key, req_context) is MISS],
            request,
        ):
            return None
        output = self._inner.prepare_store(keys, req_context)
        if output is not None:
            self._stores.begin(output.keys_to_store, request)
            self._shadow_tier.store_begins(output.keys_to_store, output.store_spec, output.evicted_keys)
            if self._runtime.provenance is not None:
                self._runtime.provenance.store_begins(
                    request, output.keys_to_store, output.store_spec.block_ids.tolist()
                )
        return output

    def complete_store(self, keys: Collection[Any], *more: Any, **named: Any) -> None:
        """The further arguments differ: they include the request's context from 0.21 on."""
        request = self._stores.end(keys)
        before_manager_call(self._runtime, "complete_store", request)
        call = self._ending.bind(keys, *more, **named)
        if self._stores.fail(self._runtime, keys, request):
            call.arguments["success"] = False
        self._inner.complete_store(*call.args, **call.kwargs)
        self._shadow_tier.store_ends(keys, success=call.arguments.get("success", True))

    def reset_cache(self) -> None:
        """vLLM calls this from 0.22 on."""
        before = self._shadow_tier.keys()
        self._inner.reset_cache()
        self._stores.forget()
        self._loads.forget()
        self._shadow_tier.reset()
        if self._runtime.provenance is not None:
            self._runtime.provenance.reset()
        for key in before:
            if self._inner.lookup(key, self._context) is HIT:
                self._shadow_tier.survived(key)

    def _make_room(self, keys: list[Any]) -> list[Any] | None:
        output = self._inner.prepare_store(keys, self._context)
        if output is None:
            return None
        self._shadow_tier.evicted(output.evicted_keys)
        return list(output.evicted_keys)

    def _drop(self, keys: list[Any]) -> None:
        accepts_context = "req_context" in self._ending.parameters
        self._inner.complete_store(keys, *((self._context,) if accepts_context else ()), success=False)


def _own_context() -> Any:
    """A request's context for blocks of our own; it has an id from 0.22 on."""
    return API.ReqContext(**({"req_id": OWN_REQUEST} if managers_receive_request_id() else {}))


def _own_key(block_hash: bytes) -> Any:
    """A key is a block's hash and the number of its cache group, here the first."""
    return block_hash + bytes(4)


def _request(req_context: Any) -> str | None:
    """The request's id; contexts know it from 0.22 on."""
    return getattr(req_context, "req_id", None) or process_globals.context.request
