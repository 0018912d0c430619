"""Which plug-in API the installed vLLM offers: detected from its code, not from its version."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_PACKAGE = "vllm.v1.kv_offload"

# Managers.
HASHES = "hashes"
"""Asked with an iterable of block hashes; a lookup answers how many of them hit."""
KEYS = "keys"
"""Asked with keys and the request's context; a lookup answers for one key."""

# Workers.
HANDLERS = "handlers"
"""A handler for each direction."""
WORKER = "worker"
"""One worker with a method for each direction."""

_LOOKUP = {HASHES: ("self", "block_hashes"), KEYS: ("self", "key", "req_context")}
_COPYING = {
    HANDLERS: ("OffloadingHandler", {"transfer_async", "get_finished", "wait"}),
    WORKER: ("OffloadingWorker", {"submit_store", "submit_load", "get_finished", "wait"}),
}


class UnknownGeneration(ImportError):
    """The installed vLLM offers a plug-in API that no adapter here speaks."""


@dataclass(frozen=True)
class Generation:
    """One shape of the plug-in API. Names of modules are relative to vLLM's package of it."""

    name: str
    releases: str
    marks: tuple[str, ...]
    """Modules (`spec`) and names in them (`spec:OffloadingSpec`) that tell it from all before."""
    modules: tuple[str, ...]
    """Where its classes lie."""
    manager: str
    worker: str

    def offered(self, name: str) -> Any:
        """A class of vLLM's plug-in API. Raises UnknownGeneration."""
        for module in self.modules:
            if _has(f"{module}:{name}"):
                return getattr(import_module(f"{_PACKAGE}.{module}"), name)
        raise UnknownGeneration(f"this vLLM looks like {self.releases} ({self.name}) but has no {name}")


_OLDEST = ("abstract", "cpu", "mediums", "worker.worker")
_OLD = ("abstract", "spec", "cpu.spec", "mediums", "worker.worker")
_MIDDLE = ("base", "cpu.spec", "cpu.common", "worker.worker")
_NEW = ("base", "cpu.spec", "cpu.common")

GENERATIONS = (
    Generation("G1", "0.16 and 0.17", ("abstract", "lru_manager"), _OLDEST, HASHES, HANDLERS),
    Generation("G2", "0.18", ("lru_manager", "reuse_manager"), _OLDEST, HASHES, HANDLERS),
    Generation("G3", "0.19", ("spec:CanonicalKVCaches",), _OLD, HASHES, HANDLERS),
    Generation("G4", "0.20", ("abstract:OffloadKey",), _OLD, KEYS, HANDLERS),
    Generation("G5", "0.21 and 0.22", ("base", "worker.worker"), _MIDDLE, KEYS, HANDLERS),
    Generation("G6", "0.23 and 0.24", ("base:OffloadPolicy", "worker.worker"), _MIDDLE, KEYS, HANDLERS),
    Generation("G7", "0.25", ("base:LookupResult",), _NEW, KEYS, WORKER),
    Generation("G8", "0.26 to 0.32", ("base:LookupResult", "config"), _NEW, KEYS, WORKER),
    Generation("G9", "0.33", ("base:ConfigInfo", "config"), _NEW, KEYS, WORKER),
)
"""Oldest first. The newest whose marks are all there is the installed one."""


@cache
def detect() -> Generation:
    """The generation of the installed vLLM. Raises UnknownGeneration."""
    for generation in reversed(GENERATIONS):
        if all(_has(mark) for mark in generation.marks):
            if _speaks(generation):
                return generation
            break
    known = ", ".join(f"{generation.releases} ({generation.name})" for generation in GENERATIONS)
    raise UnknownGeneration(
        "this vLLM has an offloading plug-in API that kvchaos has no adapter for; it has them for " + known
    )


def _has(mark: str) -> bool:
    module, _, name = mark.partition(":")
    try:
        if find_spec(f"{_PACKAGE}.{module}") is None:
            return False
    except ModuleNotFoundError:
        return False
    return not name or hasattr(import_module(f"{_PACKAGE}.{module}"), name)


def _speaks(generation: Generation) -> bool:
    """Whether a lookup and a copy are asked for as the adapters expect: a newer vLLM may have all marks."""
    lookup = inspect.signature(generation.offered("OffloadingManager").lookup)
    name, methods = _COPYING[generation.worker]
    abstract = generation.offered(name).__abstractmethods__
    return tuple(lookup.parameters) == _LOOKUP[generation.manager] and abstract == methods
