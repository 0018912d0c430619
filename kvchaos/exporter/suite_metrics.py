"""The suite's own metrics: their families, names and values from the state of the run, served on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kvchaos.errors import UsageError
from kvchaos.exporter.gpu_metrics import gpu_families
from kvchaos.exporter.live_state import LAG_BOUNDS_S, LiveRunState, PhaseCounts, sum_counts
from kvchaos.stacks.server_command import HOST
from loadtests.messages import ITL_BOUNDS_S, TTFT_BOUNDS_S, Counted, LatencyReport

OUTCOMES: dict[str, Callable[[PhaseCounts], int]] = {
    "ok": lambda counts: counts.ok,
    "failed": lambda counts: counts.failed,
    "aborted": lambda counts: counts.aborted,
}


class KvchaosCollector(Collector):
    """Collects all metrics from the current state of the run."""

    def __init__(self, state: LiveRunState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """All metrics of the run, consistent with one another."""
        with self._state.lock:
            return [
                *_run(self._state),
                *_faults(self._state),
                *_requests(self._state),
                *_clients(self._state),
                *gpu_families(self._state.gpus(), self._state.xids),
            ]

    def describe(self) -> Iterable[Metric]:
        """Nothing is collected when this is registered."""
        return []


def _run(state: LiveRunState) -> Iterable[Metric]:
    plan = state.plan
    info = {
        "scenario": plan.scenario.name,
        "server": plan.versions.server_name,
        "vllm": plan.versions.vllm,
        "stack": plan.stack,
        "seed": str(plan.seed),
    }
    run = GaugeMetricFamily("kvchaos_run_info", "Always 1. The labels name what runs.", labels=list(info))
    run.add_metric(list(info.values()), 1)
    yield run
    phases = GaugeMetricFamily(
        "kvchaos_phase_active", "1 while the phase runs, otherwise 0.", labels=["phase", "role"]
    )
    for phase in plan.scenario.phases:
        phases.add_metric([phase.name, phase.role], phase.name == state.phase)
    yield phases
    events = CounterMetricFamily("kvchaos_events", "Events in `events.jsonl`.", labels=["kind"])
    for kind, count in state.events.items():
        events.add_metric([kind], count)
    yield events
    probes = CounterMetricFamily("kvchaos_probes", "Probes that the conductor sent.", labels=["outcome"])
    for outcome in ("ok", "failed"):
        probes.add_metric([outcome], state.probes[outcome])
    yield probes


def _faults(state: LiveRunState) -> Iterable[Metric]:
    labels = ["fault", "kind"]
    active = GaugeMetricFamily(
        "kvchaos_fault_active", "1 while the fault is armed, otherwise 0.", labels=labels
    )
    for fault in state.plan.scenario.faults:
        active.add_metric([fault.id, fault.kind], fault.id in state.armed)
    yield active
    fired = CounterMetricFamily("kvchaos_fault_firings", "Injections that fired.", labels=labels)
    for fault_and_kind, count in state.firings().items():
        fired.add_metric(fault_and_kind, count)
    yield fired


def _requests(state: LiveRunState) -> Iterable[Metric]:
    ended = CounterMetricFamily(
        "kvchaos_requests", "Requests that have ended, by the client's records.", labels=["phase", "outcome"]
    )
    flying = GaugeMetricFamily("kvchaos_requests_in_flight", "Requests in flight.", labels=["phase"])
    tokens = CounterMetricFamily("kvchaos_tokens", "Tokens that clients received.", labels=["phase"])
    ttft = HistogramMetricFamily(
        "kvchaos_ttft_seconds",
        "TTFT of successful requests, from the scheduled time.",
        labels=["phase"],
    )
    itl = HistogramMetricFamily("kvchaos_itl_seconds", "ITL of successful requests.", labels=["phase"])
    for phase in (phase.name for phase in state.plan.scenario.phases):
        counts, latency = state.counts(phase), state.latency(phase)
        for outcome, of in OUTCOMES.items():
            ended.add_metric([phase, outcome], sum(map(of, counts)))
        flying.add_metric([phase], sum(count.in_flight for count in counts))
        tokens.add_metric([phase], sum(count.tokens for count in counts))
        _add_histogram(
            ttft, [phase], TTFT_BOUNDS_S, _total(latency, lambda report: report.ttft, TTFT_BOUNDS_S)
        )
        _add_histogram(itl, [phase], ITL_BOUNDS_S, _total(latency, lambda report: report.itl, ITL_BOUNDS_S))
    yield from (ended, flying, tokens, ttft, itl)


def _clients(state: LiveRunState) -> Iterable[Metric]:
    cpu = CounterMetricFamily(
        "kvchaos_client_cpu_seconds", "Processor time of a load worker while phases run.", labels=["worker"]
    )
    sockets = GaugeMetricFamily(
        "kvchaos_client_connections", "Open connections of a load worker.", labels=["worker"]
    )
    lag = HistogramMetricFamily(
        "kvchaos_client_event_loop_lag_seconds",
        "Event loop lag of a load worker.",
        labels=["worker"],
    )
    for worker, client in sorted(state.clients.items()):
        cpu.add_metric([str(worker)], client.cpu_s)
        sockets.add_metric([str(worker)], client.connections)
        _add_histogram(lag, [str(worker)], LAG_BOUNDS_S, Counted(counts=client.lags, sum_s=client.lag_s))
    yield from (cpu, sockets, lag)


def _total(
    reports: Sequence[LatencyReport], of: Callable[[LatencyReport], Counted], bounds: Sequence[float]
) -> Counted:
    return sum_counts([of(latency) for latency in reports], len(bounds) + 1)


def _add_histogram(
    family: HistogramMetricFamily, labels: list[str], bounds: Sequence[float], times: Counted
) -> None:
    edges = [*map(floatToGoString, bounds), "+Inf"]
    buckets = list(zip(edges, accumulate(times.counts), strict=True))
    family.add_metric(labels, buckets=buckets, sum_value=times.sum_s)


class HttpExporter:
    """Serves /metrics from `start` to `stop`."""

    def __init__(self, state: LiveRunState, port: int) -> None:
        self._state = state
        self._port = port
        self._serving: tuple[WSGIServer, threading.Thread] | None = None

    def start(self) -> None:
        """Raises UsageError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(KvchaosCollector(self._state))
        try:
            self._serving = start_http_server(self._port, HOST, registry)
        except OSError as error:
            raise UsageError(f"the metrics of kvchaos: port {self._port}: {error.strerror}") from error

    def stop(self) -> None:
        """Safe to repeat."""
        if self._serving is None:
            return
        server, thread = self._serving
        server.shutdown()
        server.server_close()
        thread.join()
        self._serving = None
