"""Prometheus as a process of this machine, for the local stack."""

from __future__ import annotations

import os
from pathlib import Path

from history import layout
from history.plan import PrometheusPlan
from kvchaos.prometheus.local_process import LocalPrometheus, prometheus_command
from kvchaos.prometheus.program import need_prometheus, version_of
from kvchaos.prometheus.run_monitor import Prometheus
from kvchaos.stacks.command import HOST
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.process_registry import ProcessRegistry


def plan_prometheus(run_dir: Path) -> PrometheusPlan:
    """A Prometheus of our own, on free ports. Raises UsageError when this machine has none."""
    program, port = need_prometheus(os.environ), choose_port(None)
    return PrometheusPlan(
        version=version_of(program),
        url=f"http://{HOST}:{port}",
        suite_port=choose_port(None),
        command=prometheus_command(program, run_dir / layout.PROMETHEUS_FOLDER, port),
    )


def local_prometheus(run_dir: Path, record: ProcessRegistry) -> Prometheus:
    """A Prometheus to be started for a run. Raises UsageError when this machine has none."""
    plan = plan_prometheus(run_dir)
    return Prometheus(plan, LocalPrometheus(plan, run_dir, record))
