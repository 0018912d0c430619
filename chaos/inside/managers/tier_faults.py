"""Faults of the tier's capacity: evictions, and a shrunk tier."""

from __future__ import annotations

from typing import Any

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.managers.removed_blocks import RemovedBlocks
from chaos.inside.managers.tier_pressure import Pressure
from history.protocol.evidence import TierBlocks, TierShrunk


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
