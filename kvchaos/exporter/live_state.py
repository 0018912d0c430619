"""The current state of a run, from its events, its fault journals and the reports of its load workers."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from history import layout
from history.events import (
    EventData,
    FaultsArmed,
    FaultsHealed,
    PhaseEnd,
    PhaseStart,
    ProbeSent,
    ServerExit,
    ServerStalled,
)
from history.jsonl import GrowingFiles
from history.plan import RunPlan
from history.records import ClientRecord, FaultRecord, GpuRecord
from loadtests.messages import Counted, Health, LatencyReport, PhaseDone, Progress, Report

US_PER_S = 1e6
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of a load worker's lag."""

INCIDENT_KINDS = (ServerExit.kind, ServerStalled.kind)
"""Kinds of events that are counted from 0: a count that is there from its first event on never grows."""

PhaseCounts = Progress | PhaseDone


@dataclass(slots=True)
class WorkerState:
    """One load worker since its start."""

    cpu_s: float = 0.0
    connections: int = 0
    lags: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))
    """Samples by bucket; the last bucket has no upper bound."""
    lag_s: float = 0.0
    """Sum of the samples."""

    def add(self, record: ClientRecord) -> None:
        """Add one report of the worker."""
        self.cpu_s += record.cpu_us / US_PER_S
        self.connections = record.connections
        for lag_us in record.event_loop_lag_us:
            lag_s = lag_us / US_PER_S
            self.lags[sum(bound < lag_s for bound in LAG_BOUNDS_S)] += 1
            self.lag_s += lag_s


class CountsFirings(Protocol):
    """Counts the firings of faults."""

    def count(self) -> Counter[tuple[str, str]]:
        """Firings so far, by the fault's id and kind."""
        ...


class LiveRunState:
    """Collects events and reports from several threads. A reader must hold `lock`."""

    def __init__(
        self,
        plan: RunPlan,
        firings: CountsFirings,
        new_gpu_samples: Callable[[], Iterable[GpuRecord]] = tuple,
    ) -> None:
        """`new_gpu_samples` returns the samples of GPUs since its last call."""
        self.lock = threading.RLock()
        self.plan = plan
        self.phase: str | None = None
        """Name of the running phase."""
        self.armed: set[str] = set()
        """Ids of the armed faults."""
        self.events = Counter(dict.fromkeys(INCIDENT_KINDS, 0))
        self.probes: Counter[str] = Counter()
        """Number of probes by outcome: ok or failed."""
        self.clients: dict[int, WorkerState] = defaultdict(WorkerState)
        self.xids: Counter[int] = Counter()
        """Critical errors by GPU."""
        self._new_gpu_samples = new_gpu_samples
        self._gpus: dict[int, GpuRecord] = {}
        self._firings = firings
        self._counts: dict[str, dict[int, PhaseCounts]] = defaultdict(dict)
        self._latency: dict[str, dict[int, LatencyReport]] = defaultdict(dict)

    def event(self, event: EventData) -> None:
        """Record an event of the run."""
        with self.lock:
            self.events[event.kind] += 1
            match event:
                case PhaseStart(phase=phase):
                    self.phase = phase
                case PhaseEnd():
                    self.phase = None
                case FaultsArmed(faults=faults):
                    self.armed |= set(faults)
                case FaultsHealed(faults=faults):
                    self.armed -= set(faults)
                case ProbeSent(ok=ok):
                    self.probes["ok" if ok else "failed"] += 1

    def report(self, worker: int, report: Report) -> None:
        """Record a report of a load worker."""
        with self.lock:
            match report:
                case Progress() | PhaseDone():
                    self._counts[report.phase][worker] = report
                case LatencyReport():
                    self._latency[report.phase][worker] = report
                case Health():
                    self.clients[worker].add(report.record)

    def counts(self, phase: str) -> Sequence[PhaseCounts]:
        """The last report of each worker on a phase."""
        return list(self._counts[phase].values())

    def latency(self, phase: str) -> Sequence[LatencyReport]:
        """Last latency report of each worker in a phase."""
        return list(self._latency[phase].values())

    def gpus(self) -> Sequence[GpuRecord]:
        """The last sample of each GPU; none where the server uses no GPU."""
        for sample in self._new_gpu_samples():
            self._gpus[sample.index] = sample
            self.xids[sample.index] += len(sample.xids)
        return [sample for _, sample in sorted(self._gpus.items())]

    def firings(self) -> Counter[tuple[str, str]]:
        """How often each fault has fired, by id and kind; the planned ones at least 0 times."""
        planned = Counter({(fault.id, fault.kind): 0 for fault in self.plan.scenario.faults})
        planned.update(self._firings.count())
        return planned


def sum_counts(parts: Sequence[Counted], buckets: int) -> Counted:
    """The sum of several workers' counts; all 0 where there are none."""
    return Counted(
        counts=[sum(part.counts[index] for part in parts) for index in range(buckets)],
        sum_s=sum(part.sum_s for part in parts),
    )


class FiringCounter:
    """Counts the firings in a run's journals. Each line is read once."""

    def __init__(self, run_dir: Path) -> None:
        self._journals = GrowingFiles(run_dir, layout.FAULTS_GLOB, FaultRecord)
        self._fired: Counter[tuple[str, str]] = Counter()

    def count(self) -> Counter[tuple[str, str]]:
        """Firings so far, by the fault's id and kind. Raises UnreadableRun."""
        for record in self._journals.new():
            if record.event == "fired":
                self._fired[str(record.fault), str(record.kind)] += 1
        return self._fired
