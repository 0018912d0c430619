"""The parts of one run, assembled from its plan: server, load, faults, scraper, files of the history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history import layout
from history.jsonl import LineWriter
from history.plan import RunPlan
from history.scenario import Limits
from kvchaos.conductor.event_log import EventLog
from kvchaos.conductor.fault_controller import FaultController, FaultTargets
from kvchaos.conductor.gpu_sampler import GpuSampler
from kvchaos.conductor.handover import Handover
from kvchaos.conductor.prober import ProbeClient, Prober
from kvchaos.conductor.server_lifecycle import ServerLifecycle
from kvchaos.conductor.server_monitor import ResourceSampler, ServerMonitor
from kvchaos.prometheus.run_monitor import PrometheusMonitor
from kvchaos.prometheus.scraper import Scraper
from kvchaos.stacks.network import NetworkProxy
from kvchaos.stacks.nvml import open_gpus
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import Stack
from kvchaos.terminal.display import Display
from loadtests.child_process import ProcessStarter
from loadtests.processes import LoadProcesses


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What a run is given from outside."""

    plan: RunPlan
    run_dir: Path
    stack: Stack
    display: Display
    prometheus: PrometheusMonitor | None
    network: NetworkProxy | None
    """The proxy that the load goes through, if any."""
    starter: ProcessStarter
    """Starts the processes of the load generator."""
    files: ServerFiles
    handover: Handover | None = None
    """Set where the server stays up when the run is over and has proved it clean."""

    @property
    def limits(self) -> Limits:
        """Limits of the scenario: deadlines and times."""
        return self.plan.scenario.limits


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run makes itself. Nothing of it has started yet."""

    events: EventLog
    prober: Prober
    metrics: LineWriter
    scraper: Scraper
    resources: ResourceSampler
    gpus: GpuSampler | None
    """None where the server uses no GPU, or there is no driver."""
    load: LoadProcesses
    lifecycle: ServerLifecycle
    faults: FaultController
    monitor: ServerMonitor


def assemble(setup: RunSetup) -> RunParts:
    """Open the files of the history and connect the parts. Raises OSError."""
    plan, run_dir, prometheus = setup.plan, setup.run_dir, setup.prometheus
    events = EventLog(run_dir)
    if prometheus is not None:
        events.subscribe(prometheus.event)
    prober = Prober(plan.base_url, ProbeClient(plan.base_url, plan.model_name, run_dir), events)
    metrics = LineWriter(run_dir / layout.METRICS)
    scraper = Scraper(plan.base_url, metrics)
    load = LoadProcesses(
        run_dir,
        run_dir / layout.PLAN,
        plan.workers,
        run_dir / layout.LOADER_LOG,
        prometheus.report if prometheus else None,
        plan.listen,
        setup.starter,
    )
    lifecycle = ServerLifecycle(setup.stack, plan.base_url, setup.files, events, prober)
    targets = FaultTargets(setup.stack, lifecycle, setup.network, prometheus.service if prometheus else None)
    return RunParts(
        events=events,
        prober=prober,
        metrics=metrics,
        scraper=scraper,
        resources=ResourceSampler(setup.stack, run_dir),
        gpus=_gpu_sampler(plan, run_dir),
        load=load,
        lifecycle=lifecycle,
        faults=FaultController(plan, run_dir, targets, setup.files, scraper, events),
        monitor=ServerMonitor(setup.stack, setup.limits.stall_s),
    )


def _gpu_sampler(plan: RunPlan, run_dir: Path) -> GpuSampler | None:
    gpus = open_gpus() if plan.on_gpu else None
    return None if gpus is None else GpuSampler(gpus, run_dir)
