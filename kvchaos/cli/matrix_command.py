"""The command `kvchaos matrix`: every local scenario on every release that can be installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from packaging.version import Version
from rich.console import Console

from history.scenario import Scenario
from history.verdict import Outcome
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.campaign.campaign import clean_orphans
from kvchaos.cli.requested_server import DEFAULT_SEED
from kvchaos.cli.run_command import MAX_SEED
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import exit_code
from kvchaos.matrix.digests import installed_code
from kvchaos.matrix.filling import WHOLE, Order, fill, parse_shard, utc_day
from kvchaos.matrix.local_machine import LocalMachine
from kvchaos.matrix.matrix_pages import Published, local_scenarios, publish
from kvchaos.paths import Workspace, cache_folder, matrix_runs_folder
from kvchaos.planning.scenario_file import order_scenarios
from kvchaos.servers.releases import find_release, known_releases

RESULTS = Path("matrix")
HEATMAP = "heatmap.html"


def matrix_command(
    releases: Annotated[
        str | None, typer.Option(help="Releases, separated by spaces or commas. Default: all.")
    ] = None,
    scenarios: Annotated[
        str | None, typer.Option(help="Scenarios, separated by spaces or commas. Default: all local ones.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="NUMBER/OF: one of several parts, such as 2/5.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of all random choices.")
    ] = DEFAULT_SEED,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the server environments that this command installs.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run cells again whose outcome is unknown.")] = False,
    accept_code: Annotated[
        bool,
        typer.Option(
            "--accept-code",
            help="Keep cells that other code made. For a change of the code that cannot alter a run.",
        ),
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder with a file of results for each release.")] = RESULTS,
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder for run directories. Default: matrix-runs in the cache folder."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Also update the matrix in this page: docs/releases.md.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help=f"Path of the heat map. Default: {HEATMAP} in the folder of results.")
    ] = None,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Update page and heat map from stored results; run nothing.")
    ] = False,
) -> int:
    """Run every local scenario on every release, and store the results. Resumes after an interruption.

    Exit code: 0 when all cells are as expected, 1 when one is not, 2 when one is unknown or could not be
    run, 3 for bad input.
    """
    published = Published(results, page, html or results / HEATMAP)
    # Also before a campaign: what is wrong with the files is said now and not hours later.
    publish(published)
    if page_only:
        return 0
    cache, console = cache_folder(), Console()
    order = Order(
        releases=_releases(releases),
        scenarios=_scenarios(scenarios),
        seed=seed,
        bugs=known_bugs(),
        code=installed_code(),
        shard=parse_shard(shard) if shard else WHOLE,
        keep=keep,
        retry=retry,
        accept_code=accept_code,
    )
    workspace = Workspace(cache=cache, runs=runs.absolute() if runs else matrix_runs_folder(cache), port=None)
    clean_orphans(workspace, console)

    def print_line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    try:
        outcomes = fill(order, LocalMachine(workspace, console), results, print_line, utc_day)
    except KeyboardInterrupt:
        print_line("interrupted; the same command continues from here")
        raise
    finally:
        publish(published)
    print_line(f"heat map: {published.html}")
    return _code(outcomes)


def _code(outcomes: Iterable[Outcome | None]) -> int:
    return exit_code(outcome or "unknown" for outcome in outcomes)


def _names(option: str, text: str) -> list[str]:
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if not names:
        raise UsageError(f"{option}: is empty; omit it to get all")
    return names


def _releases(text: str | None) -> list[str]:
    """Oldest first. Raises UsageError for one that cannot be installed."""
    if text is None:
        return known_releases()
    return sorted((find_release(name).version for name in _names("--releases", text)), key=Version)


def _scenarios(text: str | None) -> list[Scenario]:
    """Scenarios in the order of a campaign. Raises UsageError for an unknown one or another stack."""
    known = {scenario.name: scenario for scenario in local_scenarios()}
    names = known if text is None else _names("--scenarios", text)
    for name in names:
        if name not in known:
            raise UsageError(f"--scenarios: no local scenario named {name}; there are {', '.join(known)}")
    return order_scenarios([known[name] for name in names], known_bugs())
