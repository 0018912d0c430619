"""The command `kvchaos session`: speed and all scenarios within a time, and one file with the results."""

from __future__ import annotations

import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from history.scaling import ScaleName
from history.scenario import StackName
from kvchaos.cli.bench_command import sources_command
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.requested_server import DEFAULT_SERVER, DEFAULT_STACK
from kvchaos.cli.run_command import require_gpu, run_command
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, runs_folder
from kvchaos.planning.run_plan import make_run_dir

SUFFIX = ".tar.gz"
SPEED_SHARE = 0.25
"""The most of the time that the measurement of speed takes."""


def session_command(
    out: Annotated[Path, typer.Argument(help="File for the results, NAME.tar.gz. It must not exist.")],
    server: Annotated[str, typer.Option(help="Server environment (kvchaos server list).")] = DEFAULT_SERVER,
    stack: Annotated[StackName, typer.Option(help="Where the server runs.")] = DEFAULT_STACK,
    scale: Annotated[
        ScaleName | None, typer.Option(help="Size of the scenarios. Default: by the GPU; tiny without one.")
    ] = None,
    on_gpu: Annotated[
        bool, typer.Option("--gpu", help="Check first that there is a GPU and a server build for it.")
    ] = False,
    budget: Annotated[str, typer.Option("--for", help="Duration, such as 9m.")] = "45m",
    runs: Annotated[Path | None, typer.Option(help="Folder for run directories. Default: ./runs.")] = None,
) -> int:
    """Measure returning prompts, run all scenarios, the most important first, and pack the results.

    Exit code: 0 as expected, 1 not as expected, 2 unknown, 3 bad input.
    """
    end = time.monotonic() + parse_duration(budget)
    _check_target(out)
    if on_gpu:
        require_gpu(stack, server, cache_folder(), None)
    parent = runs.absolute() if runs else runs_folder()
    folder = make_run_dir(parent, f"session-{datetime.now(UTC):%m%d-%H%M%S}")
    try:
        speed = sources_command(
            server=server, stack=stack, scale=scale, budget=_share(end, SPEED_SHARE), runs=folder
        )
        scenarios = run_command(
            server=server,
            stack=stack,
            scale=scale,
            every=True,
            on_gpu=on_gpu,
            budget=_share(end, 1.0),
            runs=folder,
        )
    finally:
        _pack(folder, out)
    # Repeats for which no time was left are named, and are no failure, like the scenarios that are left out.
    return scenarios or (1 if speed == 1 else 0)


def _check_target(out: Path) -> None:
    if not out.name.endswith(SUFFIX):
        raise UsageError(f"{out}: give a file with the suffix {SUFFIX}")
    if out.exists():
        raise UsageError(f"{out}: exists already; give another name")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out}: {out.absolute().parent} is no folder; create it")


def _share(end: float, share: float) -> str:
    """A part of the time that is left, at least a second."""
    return f"{max(share * (end - time.monotonic()), 1.0):.0f}s"


def _pack(folder: Path, out: Path) -> None:
    """Raises UsageError when the file cannot be written."""
    try:
        with tarfile.open(out, "x:gz") as archive:
            archive.add(folder, arcname=folder.name)
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be written: {error.strerror}; the results are in {folder}"
        ) from error
    typer.echo(f"results: {out} ({out.stat().st_size / 1e6:.1f} MB), a copy of {folder}")
