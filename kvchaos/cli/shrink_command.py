"""The command `kvchaos shrink`: the smallest scenario that still shows the failure of a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.triage_options import (
    EXIT_UNKNOWN,
    MaxRuns,
    RunDir,
    Runs,
    Signature,
    logged_trials,
    triage_folder,
    triage_server,
)
from kvchaos.triage.failure_repeats import RateOfRuns
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.repeated_trials import NotShownAgain
from kvchaos.triage.result_files import result_path, write_json_file, write_text_file
from kvchaos.triage.shrink_session import ShrinkOutcome, ShrinkSession
from kvchaos.triage.shrink_steps import steps_of
from kvchaos.triage.shrunk_scenario import (
    ScenarioSize,
    run_command_line,
    shrunk_text,
    size_lines,
    size_of,
)
from kvchaos.triage.triage_runner import FailingRun, read_failing_run
from kvchaos.triage.trial_log import TrialLog

RESULT = "shrink.json"


class ShrinkResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of shrink.json."""

    run: str
    failure: FailureSignature
    scenario: str
    """Path of the smallest scenario."""
    command: str
    before: ScenarioSize
    after: ScenarioSize
    rate_before: RateOfRuns
    rate_after: RateOfRuns
    rule: str
    """By which a smaller scenario was accepted."""
    complete: bool
    """No single step makes it smaller."""
    runs: int
    seconds: float
    """Of all runs, with those of earlier starts."""


def shrink_command(
    run_dir: RunDir,
    duration: Annotated[str, typer.Option("--for", help="Time for all runs, such as 90s, 30m, 6h.")] = "30m",
    server: Annotated[str | None, typer.Option(help="Server environment. Default: that of the run.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the smallest scenario. Default: NAME.yaml next to the runs."),
    ] = None,
    signature: Signature = None,
    max_runs: MaxRuns = None,
    runs: Runs = None,
) -> int:
    """Find the smallest scenario that still shows the failure of a run.

    Faults, firings, phases, requests, concurrency, lengths and settings are left out or reduced as long as
    the signature stays. Each run is logged: the same command goes on where a killed one has ended.

    Exit code: 0 a smallest scenario, 2 the failure did not show again, 3 bad input.
    """
    budget = RunBudget(parse_duration(duration), max_runs)
    failing = read_failing_run(run_dir, signature)
    environment = triage_server(failing, server)
    folder = triage_folder("shrink", failing.plan.run_id, runs)
    path = result_path(out, folder.path / f"{failing.scenario.name}.yaml")
    runner = folder.runner(failing, environment)
    folder.print(f"failure: {failing.failure.signature}")
    with logged_trials(folder, "shrink", failing, environment.name, budget) as trials:
        session = ShrinkSession(failing.scenario, partial(steps_of, failing.trace), runner.conduct, trials)
        try:
            outcome = session.run()
        except NotShownAgain as error:
            typer.echo(f"the failure did not show again: {error}; the runs are in {folder.path}")
            if failing.plan.preceded_by:
                typer.echo("earlier runs had used the server of the failing run; each of these had a new one")
            return EXIT_UNKNOWN
        except KeyboardInterrupt:
            write_text_file(path, shrunk_text(session.smallest, failing.plan.run_id, failing.failure))
            folder.print(f"smallest scenario so far: {path}; the same command goes on from here")
            raise
        result = _result(failing, outcome, path, environment.name, trials.log)
    write_text_file(path, shrunk_text(outcome.scenario, failing.plan.run_id, failing.failure))
    write_json_file(folder.path / RESULT, result)
    for line in _lines(result):
        typer.echo(line)
    return 0


def _result(
    failing: FailingRun, outcome: ShrinkOutcome, path: Path, server: str, log: TrialLog
) -> ShrinkResult:
    return ShrinkResult(
        run=failing.plan.run_id,
        failure=failing.failure,
        scenario=str(path),
        command=run_command_line(path, failing.plan, server),
        before=size_of(failing.scenario),
        after=size_of(outcome.scenario),
        rate_before=RateOfRuns.of(outcome.before),
        rate_after=RateOfRuns.of(outcome.after),
        rule=str(outcome.rule),
        complete=outcome.complete,
        runs=len(log.trials),
        seconds=round(sum(trial.seconds for trial in log.trials), 1),
    )


def _lines(result: ShrinkResult) -> Iterator[str]:
    before, after = result.rate_before, result.rate_after
    yield f"failure: {result.failure.signature}"
    yield from size_lines(result.before, result.after)
    yield f"  shown in: {before.shown} of {before.runs} -> {after.shown} of {after.runs} runs"
    yield f"{result.runs} runs, {result.seconds:.0f} s; to accept a scenario, {result.rule}"
    if result.complete:
        yield "no single step makes it smaller"
    else:
        yield "the budget was spent before the search ended; the same command goes on from here"
    yield f"scenario: {result.scenario}"
    yield f"run it: {result.command}"
