"""Prometheus as a process of this machine, for the local stack."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from history import layout
from history.plan import PrometheusPlan, RunPlan
from kvchaos.stacks.command import HOST
from kvchaos.stacks.local import choose_port
from kvchaos.stacks.record import RunRecord
from kvchaos.witness.config import Targets, write_config
from kvchaos.witness.process import LocalPrometheus, prometheus_command
from kvchaos.witness.program import need_prometheus, version_of
from kvchaos.witness.witness import Witness


def plan_prometheus(run_dir: Path) -> PrometheusPlan:
    """A Prometheus of our own, on free ports. Raises UsageError when this machine has none."""
    program, port = need_prometheus(os.environ), choose_port(None)
    return PrometheusPlan(
        version=version_of(program),
        url=f"http://{HOST}:{port}",
        suite_port=choose_port(None),
        command=prometheus_command(program, run_dir / layout.PROMETHEUS_FOLDER, port),
    )


def watched(plan: RunPlan, run_dir: Path) -> RunPlan:
    """The plan with a Prometheus of our own beside the run. Raises UsageError when this machine has none."""
    return plan.model_copy(update={"prometheus": plan_prometheus(run_dir)})


def local_witness(plan: RunPlan, run_dir: Path, record: RunRecord) -> Witness | None:
    """The witness that the plan asks for, with its configuration written. Raises OSError."""
    if plan.prometheus is None:
        return None
    targets = Targets(server=urlsplit(plan.base_url).netloc, suite=f"{HOST}:{plan.prometheus.suite_port}")
    write_config(run_dir / layout.PROMETHEUS_FOLDER, plan.run_id, targets)
    return Witness(plan, plan.prometheus, run_dir, LocalPrometheus(plan.prometheus, run_dir, record))
