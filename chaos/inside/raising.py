"""Exceptions that nobody should have to expect, thrown on purpose."""

from __future__ import annotations

from chaos.inside.engine import FaultEngine
from history.protocol.evidence import ManagerRaised


class InjectedFailure(RuntimeError):
    """What the server sees of a fault that raises."""


def call_of_manager(engine: FaultEngine, hook: str, request: str | None) -> None:
    """A hook of the manager is called. Raises InjectedFailure when that is struck."""
    if strike := engine.strike("manager_raises", request=request, hook=hook):
        strike.fired(ManagerRaised(hook=hook))
        raise InjectedFailure(f"kvchaos: {hook} raises on purpose")
