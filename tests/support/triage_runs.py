"""Scenarios and runs for tests of triage, without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from history.phase_spec import PhaseSpec
from history.plan import RunPlan
from history.scenario import FaultSpec, Scenario, ServerSettings, WorkloadSpec
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.triage.failure_signature import FailureSignature, Observation
from kvchaos.triage.repeated_trials import ConductedRun, RepeatedTrials
from kvchaos.triage.trial_log import FILE, TriageStart, TrialLog
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import make_plan

FAILURE = FailureSignature(rule="server-alive/died", signature="server-alive/died: server")


def triage_scenario(
    *, requests: int = 40, concurrency: int = 8, faults: tuple[FaultSpec, ...] = ()
) -> Scenario:
    """Golden answers, and a phase for faults."""
    workload = WorkloadSpec(kind="unique", params={"prompt_tokens": 16, "min_output": 1, "max_output": 1})
    return Scenario(
        name="failing",
        summary="A scenario that fails.",
        server=ServerSettings(gpu_blocks=40, audit=True),
        workloads={"main": workload},
        phases=(
            PhaseSpec(name="golden", role="golden", workload="main", requests=4, concurrency=1),
            PhaseSpec(
                name="chaos", role="chaos", workload="main", requests=requests, concurrency=concurrency
            ),
        ),
        faults=faults,
    )


UNIQUE = WorkloadSpec(kind="unique", params={"prompt_tokens": 16, "min_output": 2, "max_output": 2})


def load_run() -> Run:
    """A clean run without faults, whose workload can be built again."""
    run = clean_run(with_workload(make_plan(roles=("golden", "load")), UNIQUE))
    for phase in run.plan.scenario.phases:
        own = [at for at, record in enumerate(run.requests) if record.phase == phase.name]
        for index, at in enumerate(own, start=phase.first):
            run.requests[at] = replace(run.requests[at], id=f"{phase.name}-{index}")
    return run


def with_workload(plan: RunPlan, spec: WorkloadSpec) -> RunPlan:
    """The plan with all of its workloads of one kind."""
    changed = plan.scenario.model_copy(update={"workloads": dict.fromkeys(plan.scenario.workloads, spec)})
    return plan.model_copy(update={"scenario": changed})


@dataclass
class ScriptedConduct:
    """In place of runs: what a scenario shows."""

    observe: Callable[[Scenario], Observation]
    conducted: list[Scenario] = field(default_factory=list)
    end_at: int = 1_000_000
    """The run at which a kill ends the process."""

    def __call__(self, scenario: Scenario) -> ConductedRun:
        if len(self.conducted) >= self.end_at:
            raise KeyboardInterrupt
        self.conducted.append(scenario)
        observation = self.observe(scenario)
        failed = observation not in ("shows", "absent")
        return ConductedRun(observation, 1.0, f"run-{len(self.conducted)}", "it failed" if failed else None)


def triage_start(task: str = "shrink") -> TriageStart:
    """The first line of a log."""
    return TriageStart(task=task, run="failing-1", failure=FAILURE, seed=7, server="fake", scenario="0" * 16)


@dataclass
class LoggedTrials:
    """Trials in a log of a folder, and the run directories that they discard."""

    folder: Path
    budget: RunBudget = field(default_factory=lambda: RunBudget(1e9))
    task: str = "shrink"
    discarded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = TrialLog(self.folder / FILE, triage_start(self.task))
        self.trials = RepeatedTrials(self.log, self.budget, self.discarded.append, lambda line: None)
