"""The faults from outside of a run: which injectors its stack has, and where a phase stands for them."""

from __future__ import annotations

from pathlib import Path

from chaos.catalogue import is_outside
from chaos.outside.engine import OutsideFaults
from chaos.outside.injector import Injector
from chaos.outside.journal import Journal
from chaos.outside.processes import ProcessInjector
from chaos.outside.schedule import Reached
from history import layout
from history.plan import FaultSpec, RunPlan
from kvchaos.stacks.local import LocalStack
from kvchaos.stacks.stack import Stack
from loadtests.messages import Progress


def outside_faults(plan: RunPlan, run_dir: Path, stack: Stack) -> OutsideFaults | None:
    """None where the plan has no fault from outside."""
    if not outside_of(plan.scenario.faults):
        return None
    control = run_dir / layout.CONTROL
    control.mkdir(mode=0o755, exist_ok=True)
    return OutsideFaults(list(_injectors(stack)), Journal(control))


def outside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    return tuple(fault for fault in faults if is_outside(fault.kind))


def inside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    return tuple(fault for fault in faults if not is_outside(fault.kind))


def reached(progress: Progress, seconds: float) -> Reached:
    """Where a phase stands, `seconds` after its begin."""
    return Reached(sent=progress.sent, answered=progress.ok, seconds=seconds)


def _injectors(stack: Stack) -> list[Injector]:
    if isinstance(stack, LocalStack):
        return [ProcessInjector(stack)]
    return []
