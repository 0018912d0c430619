"""The faults from outside of a run: their targets, their injectors, and the progress that triggers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chaos.fault_catalogue import is_outside
from chaos.outside.clients.abort_storm import AbortStormInjector
from chaos.outside.clients.malformed_requests import ClientTarget, MalformedRequestInjector
from chaos.outside.container_injector import ContainerInjector
from chaos.outside.injector import Injector
from chaos.outside.network.network_injector import NetworkInjector
from chaos.outside.outside_faults import InvocationCounts, OutsideFaults, OutsideJournal
from chaos.outside.process_injector import ProcessInjector
from chaos.outside.prometheus_injector import PrometheusInjector
from history import layout
from history.plan import RunPlan
from history.records import CROWD
from history.scenario import FaultSpec
from kvchaos.conductor.server_lifecycle import ServerLifecycle
from kvchaos.prometheus.run_monitor import ManagedPrometheus
from kvchaos.stacks.compose.compose_stack import ComposeStack
from kvchaos.stacks.local_stack import LocalStack
from kvchaos.stacks.network import NetworkProxy
from kvchaos.stacks.stack import Stack
from loadtests.messages import Progress


@dataclass(frozen=True, slots=True)
class FaultTargets:
    """What the faults from outside can be applied to in a run."""

    stack: Stack
    lifecycle: ServerLifecycle
    network: NetworkProxy | None
    """What the load goes through, if anything."""
    prometheus: ManagedPrometheus | None
    """The Prometheus of the run, if any."""


def outside_faults(plan: RunPlan, run_dir: Path, targets: FaultTargets) -> OutsideFaults | None:
    """None where the plan has no fault from outside."""
    if not outside_of(plan.scenario.faults):
        return None
    control = run_dir / layout.CONTROL
    control.mkdir(mode=0o755, exist_ok=True)
    return OutsideFaults(list(_injectors(plan, run_dir, targets)), OutsideJournal(control))


def outside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    return tuple(fault for fault in faults if is_outside(fault.kind))


def inside_of(faults: tuple[FaultSpec, ...]) -> tuple[FaultSpec, ...]:
    return tuple(fault for fault in faults if not is_outside(fault.kind))


def reached(progress: Progress, seconds: float) -> InvocationCounts:
    """The progress of a phase, `seconds` after its start."""
    return InvocationCounts(sent=progress.sent, answered=progress.ok, seconds=seconds)


def _injectors(plan: RunPlan, run_dir: Path, targets: FaultTargets) -> Iterator[Injector]:
    port, settings = urlsplit(plan.base_url).port, plan.scenario.server
    if port is not None:
        target = ClientTarget(port, plan.model_name, settings.max_model_len)
        yield MalformedRequestInjector(target)
        yield AbortStormInjector(target, settings.block_size, run_dir / layout.requests_file(CROWD))
    if targets.network is not None:
        yield NetworkInjector(targets.network.handle)
    if targets.prometheus is not None:
        yield PrometheusInjector(targets.prometheus)
    if isinstance(targets.stack, LocalStack):
        yield ProcessInjector(targets.stack, targets.lifecycle)
    if isinstance(targets.stack, ComposeStack):
        yield ContainerInjector(targets.stack, targets.lifecycle)
