"""Faults in what the tier holds: evictions, and a tier that has shrunk."""

from __future__ import annotations

from typing import Any

from chaos.inside.engine import FaultEngine
from chaos.inside.managers.lost import LostBlocks
from chaos.inside.managers.pressure import Pressure
from history.protocol.evidence import TierBlocks, TierShrunk


class Residency:
    """Strikes at stores, by pressure on the manager beneath."""

    def __init__(self, engine: FaultEngine, pressure: Pressure, lost: LostBlocks) -> None:
        self._engine = engine
        self._lost = lost
        self._pressure = pressure

    def before_store(self, request: str | None) -> None:
        """A store is to be prepared: evict, or take the tier's room away."""
        if strike := self._engine.strike("evict", request=request):
            gone = self._pressure.evict(int(strike.params["blocks"]))
            if gone:
                strike.fired(TierBlocks(blocks=len(gone), key=bytes(gone[0]).hex()))
                self._lost.lose(gone, strike)
            else:
                strike.refused("no-idle-block")
        if strike := self._engine.strike("tier_shrunk", request=request):
            left = int(strike.params["leave"])
            self._pressure.release()
            taken = self._pressure.occupy(left)
            strike.fired(TierShrunk(blocks=taken, left=left))

    def heal(self) -> None:
        """Give back what a fault that is over still occupies."""
        if self._pressure.holds and not self._engine.armed("tier_shrunk"):
            self._pressure.release()

    def empty(self) -> list[Any]:
        """Evict all that is idle."""
        return self._pressure.evict_all()
