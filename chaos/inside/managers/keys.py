"""Managers asked with keys and the request's context (0.20 on)."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.managers.stores import StoresUnderWay


def _answers() -> tuple[Any, Any]:
    """What a lookup answers for a block that can be loaded, and for one that is not there."""
    api = import_module(detect().offered("OffloadingManager").__module__)
    return (api.LookupResult.HIT, api.LookupResult.MISS) if hasattr(api, "LookupResult") else (True, False)


HIT, MISS = _answers()


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine
        self._stores = StoresUnderWay()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: Any, req_context: Any) -> Any:
        answer = self._inner.lookup(key, req_context)
        if answer is HIT:
            strike = self._engine.strike("lookup_miss", request=_request(req_context), key=bytes(key))
            if strike is not None:
                strike.fired({"key": bytes(key).hex(), "hit_blocks": 1, "answered_blocks": 0})
                return MISS
        return answer

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        keys = list(keys)
        if self._engine.armed("store_refused") and self._stores.refuse(
            self._engine,
            [key for key in keys if self._inner.lookup(key, req_context) is MISS],
            _request(req_context),
        ):
            return None
        output = self._inner.prepare_store(keys, req_context)
        if output is not None:
            self._stores.begin(output.keys_to_store)
        return output

    def complete_store(self, keys: Collection[Any], *more: Any, **named: Any) -> None:
        """What comes after the keys differs: the request's context is told from 0.21 on."""
        self._stores.end(keys)
        self._inner.complete_store(keys, *more, **named)


def _request(req_context: Any) -> str | None:
    """The request's id; contexts know it from 0.22 on."""
    return getattr(req_context, "req_id", None) or runtime.context.request
