"""Conducts the runs of a triage: each like any other run, judged, on a server of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version
from rich.console import Console

from history.plan import RunPlan
from history.reader import History, UnreadableRun, read_history
from history.scenario import Scenario
from history.stack_capabilities import CAPABILITIES
from history.verdict import RunVerdict
from kvchaos.campaign.campaign import run_one
from kvchaos.errors import Interrupted, UsageError
from kvchaos.judging.judge_run import judge, judge_run_dir
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.stack import ServerStartFailed
from kvchaos.triage.failure_signature import (
    FailureSignature,
    chosen_signature,
    infrastructure_failure,
    observe,
    signatures_of,
)
from kvchaos.triage.failure_trace import FailureTrace, failure_trace
from kvchaos.triage.repeated_trials import ConductedRun


@dataclass(frozen=True, slots=True)
class FailingRun:
    """A stored run that fails, and by what it is known again."""

    plan: RunPlan
    failure: FailureSignature
    trace: FailureTrace

    @property
    def scenario(self) -> Scenario:
        """With the faults that the seed has chosen."""
        return self.plan.scenario.model_copy(update={"swarm": False})

    @property
    def as_release(self) -> Version | None:
        """The release that the run was judged by, where it was given."""
        return None if self.plan.as_release is None else Version(self.plan.as_release)


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """What a run directory says of a failure."""

    history: History
    verdict: RunVerdict
    failure: FailureSignature

    @property
    def trace(self) -> FailureTrace:
        """What the run had done until then."""
        return failure_trace(self.history, self.verdict, self.failure.rule)


def read_failing_run(run_dir: Path, wanted: str | None) -> FailingRun:
    """A run to be made again; its server must be ours to start. Raises UsageError."""
    stored = read_stored_failure(run_dir, wanted)
    plan = stored.history.plan
    if not CAPABILITIES[plan.stack].starts_server:
        raise UsageError(
            f"{run_dir}: its server was attached; only a server that kvchaos starts can be run again"
        )
    return FailingRun(plan, stored.failure, stored.trace)


def read_stored_failure(run_dir: Path, wanted: str | None) -> StoredFailure:
    """`wanted`: a signature or a rule; None: the first unexplained cause. Raises UsageError."""
    try:
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    verdict = judge(history)
    infrastructure = infrastructure_failure(verdict)
    if infrastructure is not None:
        raise UsageError(
            f"{run_dir}: no failure of the server: {infrastructure.category}: {infrastructure.text}"
        )
    failure = chosen_signature(verdict, wanted)
    if failure is None:
        raise UsageError(f"{run_dir}: {_no_failure(verdict, wanted)}")
    return StoredFailure(history, verdict, failure)


def _no_failure(verdict: RunVerdict, wanted: str | None) -> str:
    if wanted is None:
        return "it has no finding to look for; give a run that is not as expected"
    known = ", ".join(found.signature for found in signatures_of(verdict)) or "none"
    return f"it has no cause {wanted!r}; its causes: {known}"


@dataclass(frozen=True, slots=True)
class TriageTarget:
    """How the runs are made."""

    run: FailingRun
    server: ServerEnv
    as_release: Version | None = None
    """None: as the failing run, if the server is its own."""


class TriageRunner:
    """Makes single runs in a folder. Raises KeyboardInterrupt when a signal cuts a run short."""

    def __init__(self, target: TriageTarget, workspace: Workspace, folder: Path, console: Console) -> None:
        self._target = target
        self._workspace = replace(workspace, runs=folder)
        self._console = console

    def conduct(self, scenario: Scenario, seed: int | None = None) -> ConductedRun:
        """One run. What keeps it from its end is a failure of the infrastructure."""
        request = self.request(scenario, seed)
        began = time.monotonic()
        try:
            run_dir, interrupted = run_one(request, self._workspace, self._console)
            if interrupted:
                raise KeyboardInterrupt(f"{run_dir.name} was cut short")
            verdict = _judged(run_dir)
        except ServerStartFailed as error:
            return ConductedRun("server start", time.monotonic() - began, None, str(error))
        except UsageError as error:
            if isinstance(error.__cause__, Interrupted):
                raise KeyboardInterrupt(str(error)) from error
            return ConductedRun("environment", time.monotonic() - began, None, str(error))
        failure = infrastructure_failure(verdict)
        return ConductedRun(
            observe(verdict, self._target.run.failure),
            time.monotonic() - began,
            run_dir.name,
            None if failure is None else failure.text,
        )

    def request(self, scenario: Scenario, seed: int | None) -> RunRequest:
        """The run as `kvchaos run` would request it."""
        plan = self._target.run.plan
        return RunRequest(
            scenario=scenario,
            server=self._target.server,
            seed=plan.seed if seed is None else seed,
            workers=plan.workers,
            stack=plan.stack,
            client=plan.client,
            as_release=self._target.as_release,
        )


def _judged(run_dir: Path) -> RunVerdict:
    try:
        return judge_run_dir(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
