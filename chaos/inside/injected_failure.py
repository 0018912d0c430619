"""The exception that faults raise on purpose."""

from __future__ import annotations

from chaos.inside.fault_runtime import FaultRuntime
from history.protocol.evidence import ManagerRaised


class InjectedFailure(RuntimeError):
    """Raised inside the server by a fault."""


def before_manager_call(runtime: FaultRuntime, hook: str, request: str | None) -> None:
    """Injection point before each call of the manager. Raises InjectedFailure when a fault fires."""
    if injection := runtime.evaluate("manager_raises", request=request, hook=hook):
        injection.fired(ManagerRaised(hook=hook))
        raise InjectedFailure(f"kvchaos: {hook} raises on purpose")
