"""The command `kvchaos nightly bisect`: the first build that shows a confirmed step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.campaign.campaign import clean_orphans
from kvchaos.errors import UsageError
from kvchaos.nightly.build_bisection import BisectionRules, BuildUnusable, LocatedStep, locate
from kvchaos.nightly.build_pairs import BuildPairs, find_series
from kvchaos.nightly.nightly_file import measured_scenario, read_nightly_file
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.report.text_tables import plain_table, print_table
from kvchaos.servers.server_registry import find_server

SEED_OFFSET = 10_000
"""Seeds of a search begin so far after those of the nights, so that no pair is repeated."""


def bisect_command(
    file: Annotated[Path, typer.Argument(help="The file that the night measured.")],
    series: Annotated[str, typer.Argument(help="The series with the step, SCENARIO/LOAD/FIGURE.")],
    builds: Annotated[
        str,
        typer.Option(
            help="Server environments in order, with commas between: a good one first, a bad one last."
        ),
    ],
    step: Annotated[
        float, typer.Option(help="The step that the night confirmed: 0.05 is 5 % slower, -0.05 faster.")
    ],
    runs: Annotated[Path | None, typer.Option(help="Folder for the runs. Default: ./runs.")] = None,
) -> int:
    """Find the first build that shows a step, by comparing builds in fresh pairs.

    Exit code: 0 located, 2 not located, 3 bad input.
    """
    names = [name.strip() for name in builds.split(",")]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"--builds {builds}: give two or more names with commas between, each once")
    if not -0.9 < step < 10 or not step:
        raise UsageError(f"--step {step:g}: give the step as a fraction, such as 0.05")
    wanted, cache = read_nightly_file(file), cache_folder()
    target = find_series(
        series, wanted, [measured_scenario(each, file.parent) for each in wanted.measurements]
    )
    servers = {name: find_server(name, cache) for name in names}
    workspace = Workspace(cache=cache, runs=runs.absolute() if runs else runs_folder(), port=None)
    console = Console(stderr=True)
    clean_orphans(workspace, console)
    pairs = BuildPairs(target, servers, wanted.seed + SEED_OFFSET, workspace, console)
    try:
        found = locate(names, pairs.measure, math.log1p(step), BisectionRules())
    except BuildUnusable as error:
        raise UsageError(str(error)) from error
    show_located(found)
    typer.echo(f"runs: {pairs.folder}")
    return 0 if found.first_bad is not None else 2


def show_located(found: LocatedStep) -> None:
    """Print the comparisons and the result."""
    table = plain_table("control", "candidate", "pairs", "mean slowdown")
    for each in found.compared:
        mean = sum(each.slowdowns) / len(each.slowdowns)
        table.add_row(each.control, each.candidate, str(len(each.slowdowns)), f"{mean:+.1%}")
    print_table(table)
    if found.first_bad is None:
        typer.echo(
            f"not located: {found.reason}; the step is after {found.last_good}, up to {found.last_bad}"
        )
        return
    typer.echo(
        f"the first build with the step is {found.first_bad}, with a probability of {found.confidence:.1%}; "
        f"the last without it is {found.last_good}"
    )
