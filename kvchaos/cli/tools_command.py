"""`kvchaos tools`: obtain Prometheus and Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.errors import UsageError
from kvchaos.prometheus.program import PROMETHEUS
from kvchaos.servers.install_progress import InstallProgress, shown
from kvchaos.tools.browser import CHROMIUM
from kvchaos.tools.installer import existing_tool, install_tools
from kvchaos.tools.tool import Tool, in_ci

ALL_TOOLS = (PROMETHEUS, CHROMIUM)

app = typer.Typer(no_args_is_help=True, help="Obtain Prometheus and Chromium without root.")


@app.callback()
def group() -> None:
    """Without it the only command would be the group itself."""


@app.command()
def install(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="prometheus, chromium. Default: both.")
    ] = None,
) -> None:
    """Obtain Prometheus and Chromium where this machine lacks them. Does nothing when they are there.

    Prometheus serves `kvchaos run --prometheus`, Chromium serves the tests of this software. What cannot
    be obtained is named; with CI=true it is an error.
    """
    outcomes = {tool: existing_tool(tool, os.environ) for tool in _chosen(names)}
    lacking = [tool for tool, outcome in outcomes.items() if outcome is None]
    if lacking:
        with _steps_shown() as progress:
            outcomes |= {outcome.tool: outcome for outcome in install_tools(lacking, os.environ, progress)}
    found = [outcome for outcome in outcomes.values() if outcome is not None]
    for outcome in found:
        typer.echo(outcome.line(), err=outcome.path is None)
    if in_ci(os.environ) and any(outcome.path is None for outcome in found):
        raise typer.Exit(3)


def _chosen(names: list[str] | None) -> list[Tool]:
    known = {tool.name: tool for tool in ALL_TOOLS}
    for name in names or ():
        if name not in known:
            raise UsageError(f"tool {name!r} is unknown; choose from: {', '.join(known)}")
    return [known[name] for name in names or known]


class _Steps:
    """Steps without the many lines of output of the programs; the log has them."""

    def __init__(self, progress: InstallProgress) -> None:
        self._progress = progress

    def step(self, text: str) -> None:
        self._progress.step(text)

    def detail(self, text: str) -> None:
        """Not shown."""


@contextmanager
def _steps_shown() -> Iterator[InstallProgress]:
    console = Console(stderr=True)
    with shown(console) as progress:
        yield progress if console.is_terminal else _Steps(progress)
