"""In which state the chaos module is while its cost is measured."""

from __future__ import annotations

from typing import Literal

from history.scenario import FaultSpec, ServerSettings, Trigger

ModuleState = Literal["absent", "idle", "armed", "ledger", "audit"]
"""`absent`: vLLM's own connector. `armed`: with faults that never fire. `ledger`, `audit`: in these modes."""
NEVER = Trigger(nth=(10**9,))
NEVER_FIRING = (
    "lookup_miss",
    "over_report",
    "manager_raises",
    "evict",
    "store_refused",
    "store_failed",
    "copy_delay",
    "bit_flip",
    "completion_late",
    "completion_reorder",
    "load_failure",
)
"""One kind of fault for each injection point."""


def settings(state: ModuleState, gpu_blocks: int) -> ServerSettings:
    """Settings of a server whose module is in this state; faults are armed later."""
    return ServerSettings(
        gpu_blocks=gpu_blocks,
        reserve_full_prompt=False,
        chaos=state != "absent",
        ledger=state in ("ledger", "audit"),
        audit=state == "audit",
    )


def never_firing() -> list[FaultSpec]:
    """A fault of each injection point, none of which fires."""
    return [FaultSpec(id=kind, kind=kind, trigger=NEVER) for kind in NEVER_FIRING]
