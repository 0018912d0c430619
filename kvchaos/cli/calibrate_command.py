"""The command `kvchaos calibrate`, and the calibration that a run on a GPU makes first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from history.scaling import ScaleName
from history.scenario import StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.calibration.calibrate import (
    WIDE_NATS,
    calibrate,
    calibration_line,
    calibration_scenario,
    identity_of,
)
from kvchaos.calibration.stored_calibrations import stored_calibration
from kvchaos.campaign.campaign import clean_orphans
from kvchaos.cli.requested_server import DEFAULT_SEED, DEFAULT_SERVER, DEFAULT_STACK, server_for, sized
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer


def calibrate_command(
    server: Annotated[str, typer.Option(help="Server environment (kvchaos server list).")] = DEFAULT_SERVER,
    stack: Annotated[StackName, typer.Option(help="Where the server runs.")] = DEFAULT_STACK,
    scale: Annotated[
        ScaleName | None, typer.Option(help="Size of the scenario. Default: by the GPU; tiny without one.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for run directories. Default: ./runs.")] = None,
) -> None:
    """Measure how far the answers of a server to equal prompts differ, and keep the tolerance for later runs.

    Exit code: 0 measured, 3 bad input, or the answers differ by more than rounding.
    """
    if not CAPABILITIES[stack].starts_server:
        raise UsageError("kvchaos calibrate needs a server that kvchaos starts, not --stack attach")
    workspace = Workspace(cache=cache_folder(), runs=runs.absolute() if runs else runs_folder(), port=None)
    environment = server_for(stack, None, server, workspace.cache)
    assert isinstance(environment, ServerEnv)
    console = Console()
    clean_orphans(workspace, console)
    calibration = calibrate(_request(environment, stack, scale), workspace, console)
    typer.echo(calibration_line(calibration))


def calibrated_tolerance(
    server: ServerEnv | AttachedServer,
    stack: StackName,
    scale: ScaleName | None,
    workspace: Workspace,
    console: Console,
) -> float | None:
    """The tolerance of a server on a GPU, from its stored calibration or from one made now; else None.

    Raises UsageError.
    """
    if isinstance(server, AttachedServer) or server.platform != "cuda":
        return None
    request = _request(server, stack, scale)
    calibration = stored_calibration(identity_of(request), workspace.cache)
    if calibration is None:
        console.print("calibration: how far do right answers differ here?", highlight=False)
        calibration = calibrate(request, workspace, console)
    console.print(f"calibration: {calibration_line(calibration)}", highlight=False, soft_wrap=True)
    return calibration.tolerance


def _request(server: ServerEnv, stack: StackName, scale: ScaleName | None) -> RunRequest:
    ((scenario, scaling),) = sized([load_scenario(calibration_scenario())], scale, server, every=False)
    return RunRequest(
        scenario=scenario,
        scaling=scaling,
        server=server,
        seed=DEFAULT_SEED,
        workers=1,
        stack=stack,
        logprob_tolerance=WIDE_NATS,
    )
