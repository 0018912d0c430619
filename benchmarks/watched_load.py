"""One phase of load on the mock server, with the memory of the load workers watched meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from history import layout
from history.latency import Quantiles, schedule_lag_ms
from history.phase_spec import PhaseSpec
from history.plan import RunPlan
from history.records import RequestRecord
from kvchaos.planning.run_plan import write_plan
from kvchaos.stacks.process_usage import resident_bytes
from loadtests.processes import LoadProcesses

READY_S, PERIOD_S = 300.0, 1.0
MAX_GROWTH_MIB = 32.0
MIB = 1 << 20
FEWEST_SAMPLES = 10


class LoadNotMeasured(Exception):
    """The load did not end well, or was over too soon."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of all load workers, MiB."""

    ready_mib: float
    """Before the first request."""
    early_mib: float
    """The most in the first tenth of the time, when all that is needed has been loaded."""
    most_mib: float

    @classmethod
    def of(cls, ready: int, samples: Sequence[int]) -> MemoryUse:
        """Of samples in bytes. Raises LoadNotMeasured for a phase that was too short."""
        if len(samples) < FEWEST_SAMPLES:
            raise LoadNotMeasured("it was over too soon to judge memory; make the load longer")
        early = max(samples[: len(samples) // 10 + 1])
        return cls(ready / MIB, early / MIB, max(samples) / MIB)

    @property
    def grown_mib(self) -> float:
        """Peak memory less the peak in the first tenth of the time, MiB."""
        return self.most_mib - self.early_mib

    @property
    def bounded(self) -> bool:
        """Whether memory grew by at most `MAX_GROWTH_MIB`."""
        return self.grown_mib <= MAX_GROWTH_MIB


@dataclass(frozen=True, slots=True)
class SentLoad:
    """What the records of a phase say of its requests."""

    requests: int
    tokens: int
    client_queued: int
    """Requests that were due with as many in flight as may be."""
    late_ms: Quantiles
    """Start after the scheduled time, of all requests."""
    span_s: float
    """From the first scheduled time to the last."""
    in_flight: float
    """Mean number of requests in flight over that time."""


@dataclass(frozen=True, slots=True)
class WatchedLoad:
    """What was measured while a phase was sent."""

    took_s: float
    memory: MemoryUse
    sent: SentLoad


def send_watched(folder: Path, plan: RunPlan, phase: PhaseSpec) -> WatchedLoad:
    """Send a phase from the workers of the plan; `folder` receives all records. Raises LoadNotMeasured."""
    load = LoadProcesses(folder, write_plan(plan, folder), plan.workers, folder / layout.LOADER_LOG)
    try:
        load.start()
        if not load.wait_ready(READY_S):
            raise LoadNotMeasured("; ".join(load.failures()) or f"no load worker within {READY_S:g} s")
        ready = _resident(load)
        began = time.monotonic()
        load.start_phase(phase)
        samples = list(_watch(load))
        took_s = time.monotonic() - began
    finally:
        load.close()
    sent = sent_load(folder)
    if sent.requests != phase.requests:
        raise LoadNotMeasured(f"{phase.requests} requests, {sent.requests} records")
    return WatchedLoad(took_s, MemoryUse.of(ready, samples), sent)


def _watch(load: LoadProcesses) -> Iterator[int]:
    """Memory of the workers, bytes, once a second while the phase runs."""
    while not load.wait_done(PERIOD_S):
        if load.failures():
            raise LoadNotMeasured("; ".join(load.failures()))
        yield _resident(load)
    counts = load.progress()
    if counts.ok != counts.sent:
        raise LoadNotMeasured(f"{counts.sent - counts.ok} of {counts.sent} requests did not end well")


def _resident(load: LoadProcesses) -> int:
    return sum(map(resident_bytes, load.pids))


def sent_load(folder: Path) -> SentLoad:
    """Read the records line by line: a long load has more than fit into memory."""
    lags: list[float] = []
    tokens = queued = in_flight_us = 0
    first, last = 2**63, 0
    decoder = msgspec.json.Decoder(RequestRecord)
    for path in sorted(folder.glob(layout.REQUESTS_GLOB)):
        with path.open("rb") as file:
            for line in file:
                record = decoder.decode(line)
                queued += record.client_queued
                tokens += len(record.token_ids)
                in_flight_us += record.end_us
                first, last = min(first, record.scheduled_ns), max(last, record.scheduled_ns)
                lags.append(schedule_lag_ms(record))
    if last <= first:
        raise LoadNotMeasured("it sent fewer than two requests; make the load longer")
    span_s = (last - first) / 1e9
    return SentLoad(len(lags), tokens, queued, Quantiles.of(lags), span_s, in_flight_us / 1e6 / span_s)
