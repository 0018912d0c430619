"""Managers whose calls take keys and the request's context (0.20 on)."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside import process_globals
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.injection_points import LookupAnswer
from chaos.inside.managers.tier_faults import OffloadTier, PreparedStore, Pressure
from chaos.inside.passthrough import Passthrough, public_methods
from chaos.inside.process_globals import managers_receive_request_id

API = import_module(detect().offered("OffloadingManager").__module__)


def _answers() -> tuple[Any, Any, Any]:
    """The results of a lookup: the block can be loaded, it is missing, retry later."""
    if hasattr(API, "LookupResult"):
        return API.LookupResult.HIT, API.LookupResult.MISS, API.LookupResult.RETRY
    return True, False, None


HIT, MISS, RETRY = _answers()
ANSWERS: dict[LookupAnswer, Any] = {"hit": HIT, "miss": MISS, "retry": RETRY}
OWN_REQUEST = "kvchaos"
"""Request id of blocks that no request of a client brought."""


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, runtime: FaultRuntime) -> None:
        self._inner = inner
        self._context = _own_context()
        self._ending = inspect.signature(inner.complete_store)
        self._tier = OffloadTier(runtime, Pressure(self._make_room, self._drop, _own_key))
        own = public_methods(inner)
        runtime.add_wrapper(Passthrough(self, own, self._tier.settled, self._tier.forget))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: Any, req_context: Any) -> Any:
        """vLLM's answer for one block, after faults."""
        request = _request(req_context)
        self._tier.begin_lookup(request)
        answer = self._inner.lookup(key, req_context)
        if answer is HIT:
            return ANSWERS[self._tier.found(bytes(key), request)]
        if answer is MISS and self._tier.claims(bytes(key), request):
            return HIT
        return answer

    def prepare_load(self, keys: Collection[Any], req_context: Any) -> Any:
        """vLLM's specification of a load, with the blocks protected from eviction."""
        keys = list(keys)
        return self._tier.prepare_load(
            keys, _request(req_context), lambda: self._inner.prepare_load(keys, req_context)
        )

    def complete_load(self, keys: Collection[Any], *more: Any) -> None:
        """`more` has the request's context from 0.21 on."""
        self._tier.complete_load(keys, lambda: self._inner.complete_load(keys, *more))

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        """vLLM's specification of a store, None when it is refused."""
        keys = list(keys)
        return self._tier.prepare_store(
            _request(req_context),
            lambda: (key for key in keys if self._inner.lookup(key, req_context) is MISS),
            lambda: self._prepare(keys, req_context),
        )

    def complete_store(self, keys: Collection[Any], *more: Any, **named: Any) -> None:
        """The further arguments differ: they include the request's context from 0.21 on."""
        call = self._ending.bind(keys, *more, **named)

        def complete(success: bool) -> None:
            if not success:
                call.arguments["success"] = False
            self._inner.complete_store(*call.args, **call.kwargs)

        self._tier.complete_store(keys, call.arguments.get("success", True), complete)

    def reset_cache(self) -> None:
        """Empty the tier, and check that it is empty; vLLM calls this from 0.22 on."""
        self._tier.reset(self._inner.reset_cache, lambda key: self._inner.lookup(key, self._context) is HIT)

    def _prepare(self, keys: list[Any], req_context: Any) -> PreparedStore | None:
        output = self._inner.prepare_store(keys, req_context)
        return None if output is None else PreparedStore(output, output.keys_to_store, output.evicted_keys)

    def _make_room(self, keys: list[Any]) -> list[Any] | None:
        prepared = self._prepare(keys, self._context)
        if prepared is None:
            return None
        self._tier.shadow.evicted(prepared.evicted)
        return list(prepared.evicted)

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
