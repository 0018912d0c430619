"""The injection points of the offload tier, and its audit, for managers of every interface.

Evictions come by pressure: made-up blocks are stored and dropped again, by the manager's public methods
alone. The manager itself chooses what has to go, as under real load, and whatever is in use stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.injection_points import (
    LOOKUP,
    LOOKUP_MISS,
    MANAGER_CALL,
    RESIDENCY,
    STORE,
    STORE_END,
    FinishedStore,
    FoundBlock,
    LookupAnswer,
    ManagerCall,
    MissingBlock,
    NewStore,
    TierBeforeStore,
)
from chaos.inside.transfer_audit.audit_log import ShadowTier
from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import BlockStoredAgain

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
        """Remember blocks that an injection has removed."""
        self._by_block.update(dict.fromkeys(blocks, injection))

    def forget(self) -> None:
        """Forget all removed blocks."""
        self._by_block.clear()

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
        """Stored blocks, each with the request that brought it."""

    def begin(self, blocks: Iterable[Any], request: str | None) -> None:
        """Remember blocks of a copy of a request."""
        self._blocks.update(dict.fromkeys(blocks, request))

    def end(self, blocks: Iterable[Any]) -> str | None:
        """The request that brought these blocks, where that is known."""
        requests = [self._blocks.pop(block, None) for block in blocks]
        return next(filter(None, requests), None)

    def forget(self) -> None:
        """Forget all blocks: the ends of these copies will not be reported."""
        self._blocks.clear()


class StoresInFlight(BlocksInFlight):
    """Blocks of stores. Some releases' lookups do not find them, and yet they are not new."""

    def __init__(self, removed: RemovedBlocks) -> None:
        super().__init__()
        self._removed = removed

    def begin(self, blocks: Iterable[Any], request: str | None) -> None:
        """Remember blocks of a store; those that a fault had removed are noted as stored again."""
        blocks = list(blocks)
        self._removed.stored(blocks)
        super().begin(blocks, request)

    def new_of(self, missing: Iterable[Any]) -> list[Any]:
        """The blocks that a lookup does not find and that no store in flight brings."""
        return [block for block in missing if block not in self._blocks]


class PreparedStore(NamedTuple):
    """What vLLM's manager answers when it takes a store."""

    output: Any
    """The answer itself."""
    stored: Collection[Any]
    """Keys of the blocks to be stored."""
    evicted: Collection[Any]


class OffloadTier:
    """One tier behind vLLM's manager: `hashes` and `keys` translate the calls of their dialect to these.

    The functions that are passed make the call of vLLM's own manager.
    """

    def __init__(self, runtime: FaultRuntime, pressure: Pressure) -> None:
        self._runtime = runtime
        self._removed = RemovedBlocks()
        self._stores = StoresInFlight(self._removed)
        self._loads = BlocksInFlight()
        self.shadow = ShadowTier(runtime.audit)
        self._pressure = pressure
        self._occupied_by = ""
        """The kind of fault that occupies room, if any does."""

    def settled(self) -> bool:
        """Whether no fault occupies room."""
        return not self._pressure.occupied

    def forget(self) -> None:
        """Forget the blocks in flight, and those that faults removed."""
        self._stores.forget()
        self._loads.forget()
        self._removed.forget()
        self.shadow.reset()

    def begin_lookup(self, request: str | None) -> None:
        """Apply faults of the call, and heal the tier, before a request looks up its blocks."""
        self._before_call("lookup", request)
        self._heal()

    def found(self, key: bytes, request: str | None, hits: int = 1, earlier: int = 0) -> LookupAnswer:
        """The answer to the lookup of a block that is in the tier, the `hits` of one call counted from 0."""
        block = FoundBlock(key, hits, earlier, self._pressure.evict_all)
        self._runtime.inject(LOOKUP, block, request=request, key=key)
        return block.answer

    def claims(self, key: bytes, request: str | None) -> bool:
        """Whether the lookup of a block that is not in the tier returns a hit."""
        block = MissingBlock(key)
        self._runtime.inject(LOOKUP_MISS, block, request=request, key=key)
        return block.claimed

    def prepare_load(self, keys: Collection[Any], request: str | None, prepare: Callable[[], Any]) -> Any:
        """The result of `prepare`, which is vLLM's; the transfer audit and the log record the load."""
        self._before_call("prepare_load", request)
        self._loads.begin(keys, request)
        spec = prepare()
        self.shadow.load_begins(keys, spec)
        if self._runtime.provenance is not None:
            self._runtime.provenance.load_begins(keys)
        return spec

    def complete_load(self, keys: Collection[Any], complete: Callable[[], None]) -> None:
        """Run `complete`, which is vLLM's; the transfer audit records the end."""
        self._before_call("complete_load", self._loads.end(keys))
        complete()
        self.shadow.load_ends(keys)

    def prepare_store(
        self,
        request: str | None,
        missing: Callable[[], Iterable[Any]],
        prepare: Callable[[], PreparedStore | None],
    ) -> Any:
        """The result of vLLM, or None for a store that is refused. `missing` looks up its blocks."""
        self._before_call("prepare_store", request)
        self._heal()
        before = TierBeforeStore(self._pressure.evict, self._occupy, self._removed.record)
        self._runtime.inject(RESIDENCY, before, request=request)
        # Without a fault no block is looked up: vLLM's filters of reuse count lookups.
        if self._runtime.armed_at(STORE) and (new := self._stores.new_of(missing())):
            store = NewStore(new)
            self._runtime.inject(STORE, store, request=request)
            if store.refused:
                return None
        prepared = prepare()
        if prepared is None:
            return None
        spec = prepared.output.store_spec
        self._stores.begin(prepared.stored, request)
        self.shadow.store_begins(prepared.stored, spec, prepared.evicted)
        if self._runtime.provenance is not None:
            self._runtime.provenance.store_begins(request, prepared.stored, spec.block_ids.tolist())
        return prepared.output

    def complete_store(self, keys: Collection[Any], success: bool, complete: Callable[[bool], None]) -> None:
        """Run `complete`, which is vLLM's, with success or, for a fault, without."""
        request = self._stores.end(keys)
        self._before_call("complete_store", request)
        end = FinishedStore(keys, self._removed.record, failed=not success)
        if keys and success:
            self._runtime.inject(STORE_END, end, request=request)
        complete(not end.failed)
        self.shadow.store_ends(keys, success=not end.failed)

    def reset(self, reset: Callable[[], None], hits: Callable[[bytes], bool]) -> None:
        """Empty the tier by vLLM's `reset`, then check it: `hits` looks a block up afterwards."""
        before = self.shadow.keys()
        reset()
        self._stores.forget()
        self._loads.forget()
        self.shadow.reset()
        if self._runtime.provenance is not None:
            self._runtime.provenance.reset()
        for key in before:
            if hits(key):
                self.shadow.survived(key)

    def _before_call(self, hook: str, request: str | None) -> None:
        """Raises InjectedFailure when a fault fires."""
        self._runtime.inject(MANAGER_CALL, ManagerCall(hook), request=request, hook=hook)

    def _occupy(self, leave: int, injection: Injection) -> int:
        self._pressure.release()
        self._occupied_by = injection.kind
        return self._pressure.occupy(leave)

    def _heal(self) -> None:
        """Give back what a fault that is over still occupies."""
        if self._pressure.occupied and not self._runtime.armed(self._occupied_by):
            self._pressure.release()
