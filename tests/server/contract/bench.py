"""What the checks need of the installed vLLM, in one shape for all releases.

It is composed of parts, each chosen by what vLLM's own modules offer: how a manager is called, how copies
are submitted, how a device cache is laid out, how a spec is configured, and how a step is described.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside.fault_runtime import FaultRuntime
from tests.server.contract.shapes.managers import HashTier, KeyTier, Noting, OffloadingManager, Tier
from tests.server.contract.shapes.specs import make_spec
from tests.server.contract.shapes.workers import Copies

CHUNKS = 6
"""Chunks in the tier."""


class Bench:
    """Tiers and copies of the installed vLLM."""

    def __init__(self) -> None:
        self.name = detect().name
        self.manager_base = OffloadingManager
        self._spec: Any = detect().offered("CPUOffloadingSpec")
        self._takes_request_context = "req_context" in inspect.signature(OffloadingManager.lookup).parameters

    @property
    def chaos_manager(self) -> type[Any]:
        """The wrapper that fits the manager."""
        if self._takes_request_context:
            from chaos.inside.managers import keys

            return keys.ChaosManager
        from chaos.inside.managers import hashes

        return hashes.ChaosManager

    @property
    def worker_pairs(self) -> Sequence[tuple[type[Any], type[Any]]]:
        """Wrapper and host copy class that fit the worker, each with vLLM's base of it."""
        if hasattr(self._spec, "get_worker"):
            from chaos.hostcopy.worker import HostCopyWorker
            from chaos.inside.workers.worker import ChaosWorker

            base = detect().offered("OffloadingWorker")
            return (ChaosWorker, base), (HostCopyWorker, base)
        from chaos.hostcopy.handlers import CopyHandler
        from chaos.inside.workers.handlers import ChaosHandler

        base = detect().offered("OffloadingHandler")
        return (ChaosHandler, base), (CopyHandler, base)

    def tier(self, chunks: int, control: Path | None) -> Tier:
        """A tier of a spec; with chaos when a control directory is given."""
        return self._tier(make_spec(chunks, 1, control).get_manager())

    def counting_tier(self, engine: FaultRuntime, calls: list[str]) -> Tier:
        """A wrapped manager that notes the names of the methods it calls of vLLM's."""
        inner = Noting(make_spec(CHUNKS, 1, None).get_manager(), calls)
        return self._tier(self.chaos_manager(inner, engine))

    def copies(self, blocks_per_chunk: int, control: Path | None) -> Copies:
        return Copies(make_spec(CHUNKS, blocks_per_chunk, control))

    def _tier(self, manager: Any) -> Tier:
        return KeyTier(manager) if self._takes_request_context else HashTier(manager)
