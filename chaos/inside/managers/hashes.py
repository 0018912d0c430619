"""Managers whose calls take block hashes (to 0.19). Each iterable can be read only once, hence the lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaos.inside import process_globals
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.managers.tier_faults import OffloadTier, PreparedStore, Pressure
from chaos.inside.passthrough import Passthrough, public_methods


class ChaosManager:
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: Any, runtime: FaultRuntime) -> None:
        self._inner = inner
        self._tier = OffloadTier(runtime, Pressure(self._make_room, self._drop, bytes))
        own = public_methods(inner)
        runtime.add_wrapper(Passthrough(self, own, self._tier.settled, self._tier.forget))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, block_hashes: Iterable[Any]) -> int | None:
        """Number of leading blocks in the tier, after faults; None: look up again later."""
        request = process_globals.context.request
        self._tier.begin_lookup(request)
        hashes = list(block_hashes)
        hits: int | None = self._inner.lookup(hashes)
        if hits is None:
            return None
        for index in range(hits):
            answer = self._tier.found(bytes(hashes[index]), request, hits, index)
            if answer != "hit":
                return index if answer == "miss" else None
        # The first block after the hits can be claimed, or none.
        return hits + any(self._tier.claims(bytes(key), request) for key in hashes[hits : hits + 1])

    def prepare_load(self, block_hashes: Iterable[Any]) -> Any:
        """vLLM's specification of a load, with the blocks protected from eviction."""
        hashes = list(block_hashes)
        return self._tier.prepare_load(
            hashes, process_globals.context.request, lambda: self._inner.prepare_load(hashes)
        )

    def complete_load(self, block_hashes: Iterable[Any]) -> None:
        """End the protection of loaded blocks."""
        hashes = list(block_hashes)
        self._tier.complete_load(hashes, lambda: self._inner.complete_load(hashes))

    def prepare_store(self, block_hashes: Iterable[Any]) -> Any:
        """vLLM's specification of a store, None when it is refused."""
        hashes = list(block_hashes)
        return self._tier.prepare_store(
            process_globals.context.request,
            lambda: (key for key in hashes if self._inner.lookup([key]) == 0),
            lambda: self._prepare(hashes),
        )

    def complete_store(self, block_hashes: Iterable[Any], success: bool = True) -> None:
        """Make stored blocks available, or remove them after a failure."""
        hashes = list(block_hashes)
        self._tier.complete_store(hashes, success, lambda whole: self._inner.complete_store(hashes, whole))

    def _prepare(self, hashes: list[Any]) -> PreparedStore | None:
        output = self._inner.prepare_store(hashes)
        if output is None:
            return None
        return PreparedStore(output, output.block_hashes_to_store, output.block_hashes_evicted)

    def _make_room(self, hashes: list[Any]) -> list[Any] | None:
        prepared = self._prepare(hashes)
        if prepared is None:
            return None
        self._tier.shadow.evicted(prepared.evicted)
        return list(prepared.evicted)

    def _drop(self, hashes: list[Any]) -> None:
        self._inner.complete_store(hashes, False)
