"""One interface to a manager, vLLM's own or wrapped: the tier of blocks that it keeps."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from chaos.hostcopy.generation import detect

OffloadingManager: Any = detect().offered("OffloadingManager")

Stored = tuple[list[bytes], list[int], list[bytes]]
"""Keys to store, their chunks, keys evicted."""


class Tier(Protocol):
    """Keys are hashes of blocks."""

    manager: Any
    receives_requests: bool
    """Whether vLLM reports the begin and the end of a request to the manager."""
    request: str | None
    """The current request, where vLLM passes it to the manager."""

    def lookup(self, keys: Sequence[bytes]) -> int | None: ...
    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None: ...
    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None: ...
    def prepare_load(self, keys: Sequence[bytes]) -> list[int]: ...
    def complete_load(self, keys: Sequence[bytes]) -> None: ...
    def touch(self, keys: Sequence[bytes]) -> None: ...
    def end_request(self) -> object:
        """End the request whose turn it is and begin another; what the manager says to that."""

    def events(self) -> list[tuple[list[bytes], bool]]:
        """Keys and whether they were removed."""

    def references(self) -> dict[bytes, int]:
        """Loads under way by block, in the order of eviction where that can be seen; -1: not ready."""


class HashTier:
    """Lookups by block hash (to 0.19), in generators as vLLM's connector does: to be read once only."""

    receives_requests = False
    request: str | None = None

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def lookup(self, keys: Sequence[bytes]) -> int | None:
        answer: int | None = self.manager.lookup(key for key in keys)
        return answer

    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None:
        output = self.manager.prepare_store(key for key in keys)
        if output is None:
            return None
        chunks = output.store_spec.block_ids.tolist()
        return output.block_hashes_to_store, chunks, output.block_hashes_evicted

    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None:
        self.manager.complete_store((key for key in keys), success)

    def prepare_load(self, keys: Sequence[bytes]) -> list[int]:
        chunks: list[int] = self.manager.prepare_load(key for key in keys).block_ids.tolist()
        return chunks

    def complete_load(self, keys: Sequence[bytes]) -> None:
        self.manager.complete_load(key for key in keys)

    def touch(self, keys: Sequence[bytes]) -> None:
        self.manager.touch(key for key in keys)

    def end_request(self) -> object:
        raise NotImplementedError("no manager to 0.19 receives requests")

    def events(self) -> list[tuple[list[bytes], bool]]:
        return [(event.block_hashes, event.removed) for event in self.manager.take_events()]

    def references(self) -> dict[bytes, int]:
        return {key: block.ref_cnt for key, block in _kept(self.manager).items()}


class KeyTier:
    """Asked with keys, and the context of the request whose turn it is (0.20 on)."""

    receives_requests = hasattr(OffloadingManager, "on_new_request")
    request: str | None = None

    def __init__(self, manager: Any) -> None:
        self._api = import_module(OffloadingManager.__module__)
        self.manager = manager
        self._requests = 0
        self._begin_request()

    def _begin_request(self) -> object:
        self._requests += 1
        named = {field.name for field in dataclasses.fields(self._api.ReqContext)}
        self.request = f"cmpl-{self._requests}" if "req_id" in named else None
        known = {"req_id": self.request} if self.request else {}
        self._context = self._api.ReqContext(**known)
        return self.manager.on_new_request(self._context) if self.receives_requests else None

    def _context_for(self, method: str) -> tuple[Any, ...]:
        """The context, for methods that ask for it."""
        parameters = inspect.signature(getattr(OffloadingManager, method)).parameters
        return (self._context,) if "req_context" in parameters else ()

    def lookup(self, keys: Sequence[bytes]) -> int | None:
        results = getattr(self._api, "LookupResult", None)
        hit, later = (True, None) if results is None else (results.HIT, results.RETRY)
        hits = 0
        for key in self._keys(keys):
            answer = self.manager.lookup(key, self._context)
            if answer is later:
                return None
            if answer is not hit:
                break
            hits += 1
        return hits

    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None:
        output = self.manager.prepare_store(self._keys(keys), self._context)
        if output is None:
            return None
        chunks = output.store_spec.block_ids.tolist()
        return [key[:-4] for key in output.keys_to_store], chunks, [key[:-4] for key in output.evicted_keys]

    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None:
        self.manager.complete_store(self._keys(keys), *self._context_for("complete_store"), success)

    def prepare_load(self, keys: Sequence[bytes]) -> list[int]:
        chunks: list[int] = self.manager.prepare_load(self._keys(keys), self._context).block_ids.tolist()
        return chunks

    def complete_load(self, keys: Sequence[bytes]) -> None:
        self.manager.complete_load(self._keys(keys), *self._context_for("complete_load"))

    def touch(self, keys: Sequence[bytes]) -> None:
        self.manager.touch(self._keys(keys), *self._context_for("touch"))

    def end_request(self) -> object:
        self.manager.on_request_finished(self._context)
        methods = [name for name in ("get_stats", "has_pending_work") if hasattr(OffloadingManager, name)]
        return self._begin_request(), [getattr(self.manager, name)() for name in methods]

    def events(self) -> list[tuple[list[bytes], bool]]:
        return [([key[:-4] for key in event.keys], event.removed) for event in self.manager.take_events()]

    def references(self) -> dict[bytes, int]:
        return {key[:-4]: chunk.ref_cnt for key, chunk in _kept(self.manager).items()}

    def _keys(self, hashes: Sequence[bytes]) -> list[Any]:
        return [self._api.make_offload_key(block_hash, 0) for block_hash in hashes]


class Noting:
    """Hands all calls on to a manager, and notes the names of the methods."""

    def __init__(self, manager: Any, calls: list[str]) -> None:
        self._manager = manager
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._manager, name)

        @functools.wraps(method)
        def noted(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(name)
            return method(*args, **kwargs)

        return noted


def _kept(manager: Any) -> dict[Any, Any]:
    """What vLLM's manager keeps of each block: in itself, or in its policy (0.19 on)."""
    keeper = getattr(manager, "_policy", manager)
    kept: dict[Any, Any] = keeper.chunks if hasattr(keeper, "chunks") else keeper.blocks
    return kept
