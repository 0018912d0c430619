"""A Prometheus on the metrics of a stored run: a database of its own, and nothing is scraped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from history import layout
from history.plan import PrometheusPlan
from history.reader import History
from kvchaos.errors import UsageError
from kvchaos.prometheus.local_prometheus import LocalPrometheus, prometheus_command
from kvchaos.prometheus.program import CONFIG, DATA, need_prometheus, version_of
from kvchaos.prometheus.queries import PrometheusClient
from kvchaos.prometheus.recorded_series import openmetrics_lines, step_s
from kvchaos.prometheus.run_monitor import READY_S, wait_for
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST

RETENTION = "100y"
SERIES = "run.om"


@contextmanager
def stored_run_prometheus(
    history: History, folder: Path, registry: ProcessRegistry, port: int | None
) -> Iterator[str]:
    """Serve the run's metrics on loopback; yields the address. `folder` gets configuration, data and log.

    Raises UsageError.
    """
    program = need_prometheus(os.environ)
    scratch = folder / layout.PROMETHEUS_FOLDER
    _write_data(history, program, scratch)
    (scratch / CONFIG).write_text("global: {}\n", encoding="utf-8")
    chosen = choose_port(port)
    plan = PrometheusPlan(
        version=version_of(program),
        url=f"http://{HOST}:{chosen}",
        suite_port=chosen,
        command=(
            *prometheus_command(program, scratch, chosen),
            f"--storage.tsdb.retention.time={RETENTION}",
            # Blocks have no marks for the end of a series: without this a dead server has values for minutes.
            f"--query.lookback-delta={max(2, round(3 * step_s(history)))}s",
        ),
    )
    service = LocalPrometheus(plan, folder, registry)
    try:
        service.start()
        _wait_ready(service, plan.url)
        yield plan.url
    finally:
        service.stop()


def _write_data(history: History, program: Path, scratch: Path) -> None:
    """The samples that Prometheus stored in the run, or else those of the suite. Raises UsageError."""
    own = history.run_dir / layout.PROMETHEUS_FOLDER / DATA
    scratch.mkdir()
    if own.is_dir():
        shutil.copytree(own, scratch / DATA)
        return
    if not history.metrics.times_ns:
        raise UsageError(f"{history.run_dir}: has no metrics")
    series = scratch / SERIES
    with series.open("w", encoding="utf-8") as file:
        file.writelines(openmetrics_lines(history))
    promtool = program.with_name("promtool")
    command = (promtool, "tsdb", "create-blocks-from", "--max-block-duration=2000h", "openmetrics")
    try:
        subprocess.run([*command, series, scratch / DATA], check=True, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"{promtool}: cannot be run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["no output"]
        raise UsageError(f"{promtool}: cannot store the metrics of {history.run_dir}: {last[0]}") from error
    series.unlink()


def _wait_ready(service: LocalPrometheus, url: str) -> None:
    client = PrometheusClient(url)
    try:
        problem = wait_for(service, client.is_responding, "it does not answer queries")
    finally:
        client.close()
    if problem is not None:
        raise UsageError(f"Prometheus is not ready after {READY_S:g} s: {problem}")
