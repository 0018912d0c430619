"""The command `kvchaos triage`: the metrics of a stored run in Prometheus, opened at its first finding."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from history.reader import UnreadableRun, read_history
from kvchaos.cli.triage_options import RunDir
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.judging.judge_run import judge
from kvchaos.paths import cache_folder, state_folder
from kvchaos.prometheus.stored_run import stored_run_prometheus
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.triage.finding_window import finding_window

GRAFANA_VARIABLE = "KVCHAOS_GRAFANA_URL"


def triage_command(
    run_dir: RunDir,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of Prometheus. Default: a free one.")
    ] = None,
) -> int:
    """Serve the metrics of a stored run in Prometheus until Ctrl-C, and print the links to its first finding.

    Prometheus listens on 127.0.0.1. The run directory is not changed.
    """
    try:
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    window = finding_window(history, judge(history))
    folder = Path(tempfile.mkdtemp(prefix="kvchaos-triage-"))
    name = f"triage-{history.plan.run_id}-{secrets.token_hex(2)}"
    registry = ProcessRegistry(state_folder(cache_folder()), run_id=name, run_dir=run_dir, control_dir=folder)
    registry.add_temp_folder(folder)
    try:
        with interrupts(), stored_run_prometheus(history, folder, registry, port) as url:
            typer.echo(f"first finding: {window.rule or 'none with a time; the window is the whole run'}")
            typer.echo(f"Prometheus: {window.prometheus_url(url)}")
            if grafana := os.environ.get(GRAFANA_VARIABLE):
                typer.echo(f"Grafana: {window.grafana_url(grafana, history.plan.run_id)}")
            else:
                typer.echo(f"Grafana: add {url} as a data source, and set {GRAFANA_VARIABLE} to get a link")
            typer.echo("Ctrl-C ends Prometheus and removes its data")
            signal.pause()
    except Interrupted:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        registry.drop_temp_folder(folder)
        registry.close()
    return 0
