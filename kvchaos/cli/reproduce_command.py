"""The command `kvchaos reproduce`: repeats a failing run, and says how often the failure shows."""

from __future__ import annotations

from typing import Annotated

import typer

from kvchaos.cli.triage_options import EXIT_UNKNOWN, RunDir, Runs, Signature, triage_folder, triage_server
from kvchaos.triage.failure_repeats import (
    FAULTLESS_RUNS,
    OTHER_SEEDS,
    SAME_SEED_RUNS,
    PlannedRepeat,
    RepeatOutcome,
    classify,
    repeat_plan,
    result_lines,
)
from kvchaos.triage.issue_files import REPEATS
from kvchaos.triage.result_files import write_json_file
from kvchaos.triage.triage_runner import TriageRunner, read_failing_run


def reproduce_command(
    run_dir: RunDir,
    same_seed: Annotated[int, typer.Option(min=0, max=1000, help="Runs with its seed.")] = SAME_SEED_RUNS,
    other_seeds: Annotated[int, typer.Option(min=0, max=1000, help="Runs with other seeds.")] = OTHER_SEEDS,
    without_faults: Annotated[
        int, typer.Option(min=0, max=1000, help="Runs without its faults.")
    ] = FAULTLESS_RUNS,
    server: Annotated[str | None, typer.Option(help="Server environment. Default: that of the run.")] = None,
    signature: Signature = None,
    runs: Runs = None,
) -> int:
    """Repeat a failing run, and say whether its failure shows always, is flaky, or needs the faults.

    Exit code: 0 it shows again, 2 it does not, or no run could say, 3 bad input.
    """
    failing = read_failing_run(run_dir, signature)
    environment = triage_server(failing, server)
    folder = triage_folder("reproduce", failing.plan.run_id, runs)
    folder.print(f"failure: {failing.failure.signature}")
    runner = folder.runner(failing, environment)
    plan = list(repeat_plan(failing.scenario, failing.plan.seed, same_seed, other_seeds, without_faults))
    outcomes: list[RepeatOutcome] = []
    try:
        for number, planned in enumerate(plan, start=1):
            outcomes.append(_conducted(runner, planned))
            folder.print(f"run {number} of {len(plan)}: {planned.variant}: {outcomes[-1].observation}")
    finally:
        result = classify(outcomes)
        write_json_file(folder.path / REPEATS, result)
        for line in result_lines(result):
            typer.echo(line)
    typer.echo(f"the runs are in {folder.path}")
    return 0 if result.occurrence in ("always", "flaky") else EXIT_UNKNOWN


def _conducted(runner: TriageRunner, planned: PlannedRepeat) -> RepeatOutcome:
    made = runner.conduct(planned.scenario, planned.seed)
    return RepeatOutcome(planned.variant, planned.seed, made.observation, made.run)
