"""Runs a night of the mix: each run is judged and logged before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from packaging.version import Version
from rich.console import Console

from history.reader import UnreadableRun, read_history
from history.scenario import ClientKind, Scenario, StackName
from kvchaos.campaign.campaign import CampaignContext, run_one
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.campaign.server_pool import ServerPool
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stability.campaign_log import CampaignLog
from kvchaos.stability.campaign_records import CampaignRun
from kvchaos.stability.night_counts import campaign_run
from kvchaos.stability.night_repeats import next_repeat, without_faults
from kvchaos.stability.run_mix import NextRun, RunMix
from kvchaos.stability.server_usage import server_usage
from kvchaos.triage.failure_signature import infrastructure_failure

OnRun = Callable[[CampaignRun], None]
"""Gets each run as soon as it is logged."""


@dataclass(frozen=True, slots=True)
class StabilitySetup:
    """What the runs of a night share."""

    mix: RunMix
    scenarios: Mapping[str, Scenario]
    """By name, all that the mix can choose."""
    server: ServerEnv
    workspace: Workspace
    stack: StackName = "local"
    client: ClientKind = "openai"
    as_release: Version | None = None
    one_server: bool = False
    """Keep the server from run to run while it stays clean."""
    known: frozenset[str] = frozenset()
    """Signatures of earlier nights: only others are repeated."""


def run_stability_night(
    setup: StabilitySetup, log: CampaignLog, budget_s: float, console: Console, on_run: OnRun
) -> bool:
    """Run until the budget is used; a run starts only if one as long as the longest so far still fits.

    Returns whether the night came to its end; False: a signal ended it. Raises UsageError.
    """
    longest_s = max((run.seconds for run in log.runs), default=0.0)
    budget = RunBudget(budget_s - log.used_s, longest_s=longest_s, clock=monotonic)
    try:
        with interrupts(), ServerPool(_workspace(setup, log), reuse=setup.one_server) as pool:
            while budget.fits():
                run = _conduct(setup, log, pool, console)
                if run is None:
                    return False
                log.add(run)
                pool.judged(run.run, run.outcome)
                on_run(run)
                budget.ended(run.seconds)
    except Interrupted:
        return False  # Between two runs.
    return True


def _workspace(setup: StabilitySetup, log: CampaignLog) -> Workspace:
    return replace(setup.workspace, runs=log.folder)


def _conduct(
    setup: StabilitySetup, log: CampaignLog, pool: ServerPool, console: Console
) -> CampaignRun | None:
    """One judged run; None: a signal cut it short, so that it does not count."""
    planned = _planned(setup, log)
    following = _request(setup, _of_mix(setup, log, made=1)) if setup.one_server else None
    context = CampaignContext(None, pool, following)
    began = monotonic()
    run_dir, interrupted = run_one(_request(setup, planned), _workspace(setup, log), console, None, context)
    if interrupted:
        return None
    return _judged(run_dir, planned, began, with_usage=setup.one_server)


def _planned(setup: StabilitySetup, log: CampaignLog) -> NextRun:
    """A repeat that is still needed, or else the next run of the mix."""
    return next_repeat(log.runs, setup.known, setup.scenarios) or _of_mix(setup, log)


def _of_mix(setup: StabilitySetup, log: CampaignLog, made: int = 0) -> NextRun:
    """The run of the mix after the logged ones, and `made` more."""
    chosen = setup.mix.at(sum(run.repeat is None for run in log.runs) + made)
    return replace(chosen, number=log.next_number + made)


def _request(setup: StabilitySetup, planned: NextRun) -> RunRequest:
    scenario = setup.scenarios[planned.choice.scenario]
    if planned.repeat is not None and planned.repeat.variant == "without faults":
        scenario = without_faults(scenario)
    return RunRequest(
        scenario=scenario,
        server=setup.server,
        seed=planned.choice.seed,
        workers=1,
        stack=setup.stack,
        client=setup.client,
        as_release=setup.as_release,
    )


def _judged(run_dir: Path, planned: NextRun, began: float, *, with_usage: bool) -> CampaignRun:
    try:
        verdict = judge_run_dir(run_dir)
        usage = server_usage(read_history(run_dir)) if with_usage else None
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
    failure = infrastructure_failure(verdict)
    seconds = monotonic() - began
    return campaign_run(planned, verdict, seconds, None if failure is None else failure.category, usage)
