"""The faults of the offload tier, for managers of every interface: stores refused or failed, blocks evicted.

Evictions come by pressure: made-up blocks are stored and dropped again, by the manager's public methods
alone. The manager itself chooses what has to go, as under real load, and whatever is in use stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.trigger_decisions import InjectedFailure, Injection
from history.protocol.evidence import BlockStoredAgain, ManagerRaised, TierBlocks, TierShrunk

Store = Callable[[list[Any]], list[Any] | None]
"""Prepares a store of these blocks; the blocks evicted for it, or None when there is no room."""
Drop = Callable[[list[Any]], None]
"""Ends a prepared store as failed: its blocks are free again."""

MOST_BLOCKS = 1 << 20
"""More blocks than any tier here has."""
GENTLENESS = 8
"""One step takes at most this fraction more than the one before, or what is wanted."""


class _Taken(NamedTuple):
    """Room that was taken."""

    keys: list[Any]
    evicted: list[Any]


class Pressure:
    """Takes room in a tier, and gives it back."""

    def __init__(self, store: Store, drop: Drop, make_key: Callable[[bytes], Any]) -> None:
        self._store = store
        self._drop = drop
        self._make_key = make_key
        self._made = 0
        self._occupied: list[Any] = []

    @property
    def occupied(self) -> int:
        """Blocks that are occupied now."""
        return len(self._occupied)

    def evict(self, wanted: int) -> list[Any]:
        """Evict about so many idle blocks, all of them if there are fewer; their keys."""
        return self._squeeze(wanted)[0]

    def evict_all(self) -> list[Any]:
        """Evict all idle blocks; their keys."""
        return self.evict(MOST_BLOCKS)

    def occupy(self, leave: int) -> int:
        """Evict all that is idle and occupy the room but for so many blocks; the blocks occupied."""
        _, room = self._squeeze(MOST_BLOCKS)
        if room > leave and (taken := self._take(room - leave)) is not None:
            self._occupied += taken.keys
        return self.occupied

    def release(self) -> None:
        """Free what is occupied."""
        if self._occupied:
            self._drop(self._occupied)
            self._occupied = []

    def _squeeze(self, wanted: int) -> tuple[list[Any], int]:
        """Take and free ever more room; what was evicted, and the most that could be taken at once."""
        evicted: list[Any] = []
        low, high, size = 0, MOST_BLOCKS, 1
        while len(evicted) < wanted and high - low > 1:
            taken = self._take(size)
            if taken is None:
                high = size
            else:
                self._drop(taken.keys)
                evicted += taken.evicted
                low = size
            if high == MOST_BLOCKS:
                # Small steps evict no more than requested, larger ones keep a large empty tier cheap.
                size = min(2 * low, low + max(wanted, low // GENTLENESS))
            else:
                size = (low + high) // 2
        return evicted, low

    def _take(self, count: int) -> _Taken | None:
        """Occupy so many blocks; None when there is no room for them."""
        keys = [self._key() for _ in range(count)]
        evicted = self._store(keys)
        return None if evicted is None else _Taken(keys, evicted)

    def _key(self) -> Any:
        self._made += 1
        return self._make_key(hashlib.sha256(f"kvchaos/{self._made}".encode()).digest())


class RemovedBlocks:
    """Maps each block to the injection that removed it. Each injection notes its first block stored again."""

    def __init__(self) -> None:
        self._by_block: dict[Any, Injection] = {}

    def record(self, blocks: Iterable[Any], injection: Injection) -> None:
        self._by_block.update(dict.fromkeys(blocks, injection))

    def stored(self, blocks: Iterable[Any]) -> None:
        """The server begins to store these blocks."""
        if not self._by_block:
            return
        for block in blocks:
            injection = self._by_block.pop(block, None)
            if injection is not None:
                injection.note(BlockStoredAgain(key=bytes(block).hex()))


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


class TierFaults:
    """Injects at stores, by pressure on the wrapped manager."""

    def __init__(self, runtime: FaultRuntime, pressure: Pressure, removed: RemovedBlocks) -> None:
        self._runtime = runtime
        self._removed = removed
        self._pressure = pressure

    def before_store(self, request: str | None) -> None:
        """A store is to be prepared: evict, or take the tier's room away."""
        if injection := self._runtime.evaluate("evict", request=request):
            gone = self._pressure.evict(int(injection.params["blocks"]))
            if gone:
                injection.fired(TierBlocks(blocks=len(gone), key=bytes(gone[0]).hex()))
                self._removed.record(gone, injection)
            else:
                injection.refused("no-idle-block")
        if injection := self._runtime.evaluate("tier_shrunk", request=request):
            left = int(injection.params["leave"])
            self._pressure.release()
            taken = self._pressure.occupy(left)
            injection.fired(TierShrunk(blocks=taken, left=left))

    def heal(self) -> None:
        """Give back what a fault that is over still occupies."""
        if self._pressure.occupied and not self._runtime.armed("tier_shrunk"):
            self._pressure.release()

    def empty(self) -> list[Any]:
        """Evict all that is idle."""
        return self._pressure.evict_all()


def before_manager_call(runtime: FaultRuntime, hook: str, request: str | None) -> None:
    """Injection point before each call of the manager. Raises InjectedFailure when a fault fires."""
    if injection := runtime.evaluate("manager_raises", request=request, hook=hook):
        injection.fired(ManagerRaised(hook=hook))
        raise InjectedFailure(f"kvchaos: {hook} raises on purpose")
