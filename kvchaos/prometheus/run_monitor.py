"""The Prometheus of one run: start it, export the suite's metrics to it, read its samples at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from history import layout
from history.events import EventData
from history.jsonl import GrowingFiles, LineWriter
from history.plan import PrometheusPlan, RunPlan
from history.records import GpuRecord
from kvchaos.errors import UsageError
from kvchaos.exporter.live_state import FiringCounter, LiveRunState
from kvchaos.exporter.suite_metrics import HttpExporter
from kvchaos.polling import poll, wait_until
from kvchaos.prometheus.program import DOCS_VARIABLE, ScrapeTargets, write_config
from kvchaos.prometheus.queries import MS_PER_S, NS_PER_S, PrometheusClient, Unreachable, read_scrapes
from kvchaos.stacks.server_command import HOST
from loadtests.messages import Report

READY_S = 40.0
"""Prometheus looks for new targets every 5 s, and begins to scrape them within as much. Started again, it
reads its data first."""
CATCH_UP_S = 5.0
POLL_S = 0.1
DRAFT = ".draft"


@dataclass(frozen=True, slots=True)
class PrometheusReadResult:
    """The outcome of reading the samples: the number of scrapes, or the error."""

    scrapes: int
    error: str | None


class ManagedPrometheus(Protocol):
    """A Prometheus, wherever it runs."""

    def start(self) -> None:
        """Start it; it scrapes from then on."""

    def check(self) -> None:
        """Raises UsageError when it has ended by itself."""
        ...

    def runs(self) -> bool:
        """Whether it runs."""

    def kill(self) -> None:
        """Send SIGKILL; does nothing when it has ended."""
        ...

    def revive(self) -> None:
        """Start it again when it has ended, so that the samples it has stored can be read."""
        ...

    def stop(self) -> None:
        """Safe to repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus: its part of the plan, and the service that starts and ends it."""

    plan: PrometheusPlan
    service: ManagedPrometheus


def create_monitor(plan: RunPlan, run_dir: Path, prometheus: Prometheus | None) -> PrometheusMonitor | None:
    """Write the configuration of the Prometheus of a run and return its monitor. Raises OSError."""
    if prometheus is None:
        return None
    suite = f"{HOST}:{prometheus.plan.suite_port}"
    targets = ScrapeTargets(server=urlsplit(plan.base_url).netloc, suite=suite)
    folder = run_dir / layout.PROMETHEUS_FOLDER
    write_config(folder, plan.run_id, targets, os.environ.get(DOCS_VARIABLE))
    return PrometheusMonitor(plan, prometheus.plan, run_dir, prometheus.service)


def wait_for(service: ManagedPrometheus, condition: Callable[[], bool], unmet: str) -> str | None:
    """Poll until the condition is met. Returns None, or the last problem at the deadline.

    `unmet`: the problem while it is not. Raises UsageError when Prometheus ends.
    """

    def problem() -> str | None:
        service.check()
        try:
            return None if condition() else unmet
        except Unreachable as error:
            return str(error)

    return poll(problem, lambda last: last is None, READY_S, POLL_S)


class PrometheusMonitor:
    """A Prometheus and the exporter of the suite that it scrapes, for one run."""

    def __init__(
        self, plan: RunPlan, prometheus: PrometheusPlan, run_dir: Path, service: ManagedPrometheus
    ) -> None:
        self._run_id = plan.run_id
        self._run_dir = run_dir
        self.service = service
        self._state = LiveRunState(
            plan, FiringCounter(run_dir), GrowingFiles(run_dir, layout.GPUS, GpuRecord).new
        )
        self._exporter = HttpExporter(self._state, prometheus.suite_port)
        self._client = PrometheusClient(prometheus.url)
        self._began_s = int(time.time())
        self._result: PrometheusReadResult | None = None

    def event(self, event: EventData) -> None:
        """Export an event of the run."""
        self._state.event(event)

    def report(self, worker: int, report: Report) -> None:
        """Export a report of a load worker."""
        self._state.report(worker, report)

    def start(self) -> None:
        """Raises UsageError, OSError."""
        self._exporter.start()
        self.service.start()

    def wait_ready(self) -> None:
        """Return when it scrapes the server, which must be up. Raises UsageError."""
        if (problem := self._wait(lambda: self._client.is_up(self._run_id))) is not None:
            raise UsageError(f"Prometheus is not ready after {READY_S:g} s: {problem}")

    def _wait(self, condition: Callable[[], bool]) -> str | None:
        """Poll until the condition is met. Returns None, or the last problem at the deadline.

        Raises UsageError when Prometheus ends.
        """
        return wait_for(self.service, condition, "it does not scrape the server")

    def catch_up(self) -> None:
        """Wait for a scrape of server and suite that begins now or later, a little while."""
        now_ms = time.time_ns() * MS_PER_S // NS_PER_S
        try:
            wait_until(lambda: (self._client.last_scrape_ms(self._run_id) or 0) >= now_ms, CATCH_UP_S, POLL_S)
        except Unreachable:
            # The error is reported when its samples are read.
            return

    def collect(self) -> PrometheusReadResult:
        """Read its samples into the run directory, once; later samples are not read."""
        if self._result is None:
            self._result = self._read()
        return self._result

    def _read(self) -> PrometheusReadResult:
        self.service.revive()
        try:
            problem = self._wait(self._client.is_responding)
        except UsageError as error:
            problem = str(error)
        return self._write() if problem is None else PrometheusReadResult(0, problem)

    def _write(self) -> PrometheusReadResult:
        path = self._run_dir / layout.PROMETHEUS
        draft = path.with_suffix(DRAFT)
        draft.unlink(missing_ok=True)
        count = 0
        try:
            with LineWriter(draft) as writer:
                for line in read_scrapes(self._client, self._run_id, self._began_s, int(time.time()) + 1):
                    writer.write(line)
                    count += 1
        except Unreachable as error:
            return PrometheusReadResult(0, str(error))
        draft.replace(path)
        return PrometheusReadResult(count, None)

    def stop(self) -> None:
        """Safe to repeat."""
        try:
            self.service.stop()
        finally:
            self._exporter.stop()
            self._client.close()
