"""One interface to the managers of all generations of the plug-in API, as the scheduler calls them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from chaos.inside.fault_runtime import FaultRuntime
from tests.support.model_tier import (
    ANSWERS,
    NEW_CONTEXT,
    OLD_CONTEXT,
    HashManager,
    Key,
    KeyedManager,
    KeyManager,
    NewKeyManager,
    Tier,
    installed,
)
from tests.support.plugin_shapes import SHAPES, Files

Taken = tuple[list[Key], list[Key]] | None
"""Blocks to store and blocks evicted; None when a store is turned away."""


class Dialect(Protocol):
    """Questions to a manager, wrapped or not, and what its answers mean."""

    longest_lookup: int
    """Blocks that one question can be about."""
    later: Any
    """The answer that puts off."""

    def wrap(self, tier: Tier, engine: FaultRuntime) -> Any: ...

    def plain(self, tier: Tier, keys: Sequence[Key]) -> Any:
        """What the inner manager alone answers."""

    def misses(self, tier: Tier, key: Key) -> bool:
        """Whether it is answered as missing."""

    def missed(self, index: int) -> Any:
        """The answer when all from this place on is missing."""

    def claimed(self, hits: int) -> Any:
        """The answer when one block more than these is claimed."""

    def lookup(self, manager: Any, keys: Sequence[Key]) -> Any: ...
    def store(self, manager: Any, keys: Sequence[Key]) -> Taken: ...
    def end_store(self, manager: Any, keys: Sequence[Key]) -> None: ...
    def load(self, manager: Any, keys: Sequence[Key]) -> None: ...
    def end_load(self, manager: Any, keys: Sequence[Key]) -> None: ...
    def touch(self, manager: Any, keys: Sequence[Key]) -> None: ...


class Hashes:
    """To 0.19: a lookup is about a whole prefix, and iterables can be read only once."""

    longest_lookup = 4
    later = None

    def __init__(self) -> None:
        self._wrapper = importlib.import_module("chaos.inside.managers.hashes").ChaosManager

    def wrap(self, tier: Tier, engine: FaultRuntime) -> Any:
        return self._wrapper(HashManager(tier), engine)

    def plain(self, tier: Tier, keys: Sequence[Key]) -> Any:
        return HashManager(tier).lookup(keys)

    def misses(self, tier: Tier, key: Key) -> bool:
        return True

    def missed(self, index: int) -> int:
        return index

    def claimed(self, hits: int) -> int:
        return hits + 1

    def lookup(self, manager: Any, keys: Sequence[Key]) -> Any:
        return manager.lookup(iter(keys))

    def store(self, manager: Any, keys: Sequence[Key]) -> Taken:
        output = manager.prepare_store(iter(keys))
        return output and (output.block_hashes_to_store, output.block_hashes_evicted)

    def end_store(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.complete_store(iter(keys))

    def load(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.prepare_load(iter(keys))

    def end_load(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.complete_load(iter(keys))

    def touch(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.touch(iter(keys))


class Keys:
    """0.20: block by block, and a block that is being written is missing."""

    longest_lookup = 1
    inner: type[KeyedManager] = KeyManager
    shape: ClassVar[Files] = {**SHAPES["G4"], "abstract": SHAPES["G4"]["abstract"] + OLD_CONTEXT}
    ending: tuple[object, ...] = ()
    """What the end of a copy is told besides the keys."""

    def __init__(self, folder: Path) -> None:
        """A vLLM is written into the empty `folder`, for the wrapper to meet."""
        with installed(self.shape, folder):
            module = importlib.import_module("chaos.inside.managers.keys")
            # Told by what is installed, and kept: it is asked again when this vLLM is gone.
            module.managers_receive_request_id()
        self._wrapper = module.ChaosManager
        self.later = module.RETRY
        self._module = module

    def wrap(self, tier: Tier, engine: FaultRuntime) -> Any:
        return self._wrapper(self._inner(tier), engine)

    def _inner(self, tier: Tier) -> KeyedManager:
        return self.inner(tier)

    def plain(self, tier: Tier, keys: Sequence[Key]) -> Any:
        return self._inner(tier).lookup(keys[0], None)

    def misses(self, tier: Tier, key: Key) -> bool:
        return not tier.ready(key)

    def missed(self, index: int) -> Any:
        return self._module.MISS

    def claimed(self, hits: int) -> Any:
        return self._module.HIT

    def lookup(self, manager: Any, keys: Sequence[Key]) -> Any:
        return manager.lookup(keys[0], None)

    def store(self, manager: Any, keys: Sequence[Key]) -> Taken:
        output = manager.prepare_store(keys, None)
        return output and (output.keys_to_store, output.evicted_keys)

    def end_store(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.complete_store(keys, *self.ending)

    def load(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.prepare_load(keys, None)

    def end_load(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.complete_load(keys, *self.ending)

    def touch(self, manager: Any, keys: Sequence[Key]) -> None:
        manager.touch(keys, *self.ending)


class NewKeys(Keys):
    """0.32: the context in every call, and a block that is being written is not missing."""

    inner = NewKeyManager
    shape: ClassVar[Files] = {
        **SHAPES["G8"],
        "base": SHAPES["G8"]["base"].replace("LookupResult = object()", ANSWERS) + NEW_CONTEXT,
    }
    ending = (None,)

    def _inner(self, tier: Tier) -> KeyedManager:
        manager = super()._inner(tier)
        answers = self._module.API.LookupResult
        manager.hit, manager.miss = answers.HIT, answers.MISS
        manager.pending, manager.retry = answers.HIT_PENDING, answers.RETRY
        return manager

    def misses(self, tier: Tier, key: Key) -> bool:
        return key not in tier.blocks
