"""`kvchaos tools`: obtain Prometheus and Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from kvchaos.browser import CHROMIUM
from kvchaos.servers.progress import Progress, shown
from kvchaos.tools.install import obtain, ready
from kvchaos.tools.tool import in_ci
from kvchaos.witness.program import PROMETHEUS

ALL_TOOLS = (PROMETHEUS, CHROMIUM)

app = typer.Typer(no_args_is_help=True, help="Obtain Prometheus and Chromium without root.")


@app.callback()
def group() -> None:
    """Without it the only command would be the group itself."""


@app.command()
def install() -> None:
    """Obtain Prometheus and Chromium where this machine lacks them. Does nothing when both are there.

    What cannot be obtained is named; with CI=true it is an error.
    """
    outcomes = {tool: ready(tool, os.environ) for tool in ALL_TOOLS}
    lacking = [tool for tool, outcome in outcomes.items() if outcome is None]
    if lacking:
        with _steps_shown() as progress:
            outcomes |= {outcome.tool: outcome for outcome in obtain(lacking, os.environ, progress)}
    found = [outcome for outcome in outcomes.values() if outcome is not None]
    for outcome in found:
        typer.echo(outcome.line(), err=outcome.path is None)
    if in_ci(os.environ) and any(outcome.path is None for outcome in found):
        raise typer.Exit(3)


class _Steps:
    """Steps without the many lines of output of the programs; the log has them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def step(self, text: str) -> None:
        self._progress.step(text)

    def detail(self, text: str) -> None:
        """Not shown."""


@contextmanager
def _steps_shown() -> Iterator[Progress]:
    console = Console(stderr=True)
    with shown(console) as progress:
        yield progress if console.is_terminal else _Steps(progress)
