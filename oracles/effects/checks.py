"""Did a fault that fired have the effect it should: did the server take the intended path?

For each kind of fault one check, of what the server or the client shows, not the injector.
"""

from __future__ import annotations

from collections.abc import Callable

from history.reader import History
from history.records import FaultRecord
from history.scenario import FaultSpec
from oracles.effects.copy_effects import COPY_FAULT_CHECKS
from oracles.effects.damage_effects import DAMAGE_FAULT_CHECKS
from oracles.effects.outside_effects import OUTSIDE_CHECKS
from oracles.effects.tier_effects import TIER_FAULT_CHECKS
from oracles.views.fired_fault import Doubt, FiredFault

INSIDE_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    **TIER_FAULT_CHECKS,
    **COPY_FAULT_CHECKS,
    **DAMAGE_FAULT_CHECKS,
}
"""By the kind of a fault of the plug-in."""


def missing_effect(
    history: History, fault: FaultSpec, fired: list[FaultRecord], phases: set[str]
) -> Doubt | None:
    """None when the fault had its effect, else the reason to doubt it."""
    check = INSIDE_CHECKS.get(fault.kind) or OUTSIDE_CHECKS.get(fault.kind)
    if check is None:
        return Doubt("no-sign", f"no sign is known by which to see a {fault.kind}")
    windows = [phase for phase in history.phases() if phase.spec.name in phases]
    return check(FiredFault(history, fault, fired, windows))
