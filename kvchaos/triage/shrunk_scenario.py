"""A shrunk scenario: its size in figures, its file, and the command that runs it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from history.plan import RunPlan
from history.scenario import Scenario, ServerSettings
from history.strict_yaml import dump_yaml
from kvchaos.triage.failure_signature import FailureSignature
from loadtests import workloads


class ScenarioSize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How large a scenario is; less of each makes a failure easier to understand."""

    faults: int
    firings: int | None
    """Invocations to which the faults are pinned; None: a fault has another trigger."""
    phases: int
    requests: int
    concurrency: int
    """Of the phase with the most."""
    longest_request: int
    """Tokens of the longest prompt with its answer."""
    settings: int
    """Server settings that are not the default, the KV blocks not counted."""


LABELS = {
    "faults": "faults",
    "firings": "firings",
    "phases": "phases",
    "requests": "requests",
    "concurrency": "concurrency",
    "longest_request": "tokens of the longest request",
    "settings": "server settings other than the default",
}


def size_of(scenario: Scenario) -> ScenarioSize:
    """The figures of a valid scenario."""
    pins = [fault.trigger.nth for fault in scenario.faults]
    pinned = [len(nth) for nth in pins if nth is not None]
    built = [workloads.build(spec, name, seed=0) for name, spec in scenario.workloads.items()]
    return ScenarioSize(
        faults=len(scenario.faults),
        firings=sum(pinned) if len(pinned) == len(pins) else None,
        phases=len(scenario.phases),
        requests=sum(phase.requests for phase in scenario.phases),
        concurrency=max(phase.concurrency for phase in scenario.phases),
        longest_request=max(workload.longest for workload in built),
        settings=_changed_settings(scenario.server),
    )


def brief_size(scenario: Scenario) -> str:
    """The main figures in a few words."""
    requests = sum(phase.requests for phase in scenario.phases)
    at_once = max(phase.concurrency for phase in scenario.phases)
    faults = f"{len(scenario.faults)} faults, " if scenario.faults else ""
    return f"{faults}{len(scenario.phases)} phases, {requests} requests, {at_once} at once"


def _changed_settings(settings: ServerSettings) -> int:
    defaults = ServerSettings(gpu_blocks=settings.gpu_blocks)
    changed = [key for key in ServerSettings.model_fields if getattr(settings, key) != getattr(defaults, key)]
    return len([key for key in changed if key != "extra_args"]) + len(settings.extra_args)


def size_lines(before: ScenarioSize, after: ScenarioSize) -> Iterator[str]:
    """A line for each figure that is not zero on both sides."""
    for key, label in LABELS.items():
        old, new = getattr(before, key), getattr(after, key)
        if old or new:
            yield f"  {label}: {_figure(old)} -> {_figure(new)}"


def _figure(value: int | None) -> str:
    return "by trigger" if value is None else str(value)


def scenario_digest(scenario: Scenario) -> str:
    """Equal for scenarios that make the same run."""
    content = scenario.model_dump(mode="json", exclude={"summary"})
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def shrunk_text(scenario: Scenario, run_id: str, failure: FailureSignature) -> str:
    """The scenario as a file that says where it comes from."""
    return scenario_text(
        scenario.model_copy(update={"summary": f"Shrunk from {run_id}: {failure.signature}"})
    )


def scenario_text(scenario: Scenario) -> str:
    """The scenario as a file, with what is not the default only."""
    content: dict[str, Any] = scenario.model_dump(mode="json", exclude_defaults=True)
    return dump_yaml(content)


def run_command_line(path: Path, plan: RunPlan, server: str) -> str:
    """The command that runs a scenario file as the failing run was run."""
    command = ["kvchaos", "run", str(path), "--server", server, "--seed", str(plan.seed)]
    if plan.stack != "local":
        command += ["--stack", plan.stack]
    if plan.client != "openai":
        command += ["--client", plan.client]
    if plan.workers != 1:
        command += ["--workers", str(plan.workers)]
    if plan.as_release is not None:
        command += ["--as-release", plan.as_release]
    return shlex.join(command)
