"""Managers asked with keys and the request's context (0.20 on)."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.ledger.residents import Residents
from chaos.inside.managers.lost import LostBlocks
from chaos.inside.managers.pressure import Pressure
from chaos.inside.managers.residency import Residency
from chaos.inside.managers.stores import BlocksUnderWay, StoresUnderWay
from chaos.inside.raising import call_of_manager
from chaos.inside.turns import managers_are_told
from history.protocol.evidence import BlockLookup, EvictedAfterHit, LookupMissed

API = import_module(detect().offered("OffloadingManager").__module__)


def _answers() -> tuple[Any, Any, Any]:
    """What a lookup answers: the block can be loaded, it is not there, ask again later."""
    if hasattr(API, "LookupResult"):
        return API.LookupResult.HIT, API.LookupResult.MISS, API.LookupResult.RETRY
    return True, False, None


HIT, MISS, RETRY = _answers()
OWN_REQUEST = "kvchaos"
"""Request id of blocks that no request of a client brought."""


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine
        lost = LostBlocks()
        self._stores = StoresUnderWay(lost)
        self._residents = Residents(engine.ledger)
        self._loads = BlocksUnderWay()
        self._context = _own_context()
        self._ending = inspect.signature(inner.complete_store)
        self._residency = Residency(engine, Pressure(self._make_room, self._drop, _own_key), lost)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: Any, req_context: Any) -> Any:
        call_of_manager(self._engine, "lookup", _request(req_context))
        self._residency.heal()
        answer = self._inner.lookup(key, req_context)
        request, raw = _request(req_context), bytes(key)
        if answer is HIT:
            if strike := self._engine.strike("lookup_miss", request=request, key=raw):
                strike.fired(LookupMissed(key=raw.hex(), hit_blocks=1, answered_blocks=0))
                return MISS
            if strike := self._engine.strike("lookup_retry", request=request, key=raw):
                strike.fired(BlockLookup(key=raw.hex()))
                return RETRY
            if strike := self._engine.strike("evict_after_hit", request=request, key=raw):
                strike.fired(EvictedAfterHit(key=raw.hex(), blocks=len(self._residency.empty())))
        elif answer is MISS and (strike := self._engine.strike("over_report", request=request, key=raw)):
            strike.fired(BlockLookup(key=raw.hex()))
            return HIT
        return answer

    def prepare_load(self, keys: Collection[Any], req_context: Any) -> Any:
        keys, request = list(keys), _request(req_context)
        call_of_manager(self._engine, "prepare_load", request)
        self._loads.begin(keys, request)
        spec = self._inner.prepare_load(keys, req_context)
        self._residents.load_begins(keys, spec)
        if self._engine.provenance is not None:
            self._engine.provenance.load_begins(keys)
        return spec

    def complete_load(self, keys: Collection[Any], *more: Any) -> None:
        """The request's context is told from 0.21 on."""
        call_of_manager(self._engine, "complete_load", self._loads.end(keys))
        self._inner.complete_load(keys, *more)
        self._residents.load_ends(keys)

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        keys, request = list(keys), _request(req_context)
        call_of_manager(self._engine, "prepare_store", request)
        self._residency.heal()
        self._residency.before_store(request)
        if self._engine.armed("store_refused") and self._stores.refuse(
            self._engine,
            [key for key in keys if self._inner.lookup(key, req_context) is MISS],
            request,
        ):
            return None
        output = self._inner.prepare_store(keys, req_context)
        if output is not None:
            self._stores.begin(output.keys_to_store, request)
            self._residents.store_begins(output.keys_to_store, output.store_spec, output.evicted_keys)
            if self._engine.provenance is not None:
                self._engine.provenance.store_begins(
                    request, output.keys_to_store, output.store_spec.block_ids.tolist()
                )
        return output

    def complete_store(self, keys: Collection[Any], *more: Any, **named: Any) -> None:
        """What comes after the keys differs: the request's context is told from 0.21 on."""
        request = self._stores.end(keys)
        call_of_manager(self._engine, "complete_store", request)
        call = self._ending.bind(keys, *more, **named)
        if self._stores.fail(self._engine, keys, request):
            call.arguments["success"] = False
        self._inner.complete_store(*call.args, **call.kwargs)
        self._residents.store_ends(keys, success=call.arguments.get("success", True))

    def reset_cache(self) -> None:
        """Asked from 0.22 on."""
        before = self._residents.keys()
        self._inner.reset_cache()
        self._stores.forget()
        self._loads.forget()
        self._residents.reset()
        if self._engine.provenance is not None:
            self._engine.provenance.reset()
        for key in before:
            if self._inner.lookup(key, self._context) is HIT:
                self._residents.survived(key)

    def _make_room(self, keys: list[Any]) -> list[Any] | None:
        output = self._inner.prepare_store(keys, self._context)
        if output is None:
            return None
        self._residents.evicted(output.evicted_keys)
        return list(output.evicted_keys)

    def _drop(self, keys: list[Any]) -> None:
        told = "req_context" in self._ending.parameters
        self._inner.complete_store(keys, *((self._context,) if told else ()), success=False)


def _own_context() -> Any:
    """A request's context for blocks of our own; it has an id from 0.22 on."""
    return API.ReqContext(**({"req_id": OWN_REQUEST} if managers_are_told() else {}))


def _own_key(block_hash: bytes) -> Any:
    """A key is a block's hash and the number of its cache group, here the first."""
    return block_hash + bytes(4)


def _request(req_context: Any) -> str | None:
    """The request's id; contexts know it from 0.22 on."""
    return getattr(req_context, "req_id", None) or runtime.context.request
