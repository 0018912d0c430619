"""The command `kvchaos plan`: what a run would start, in full."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import yaml

from history import layout
from history.scaling import ScaleName
from history.scenario import Scenario, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.cli.requested_server import DEFAULT_SERVER, DEFAULT_STACK
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, runs_folder
from kvchaos.planning.run_plan import RunRequest, new_run_id
from kvchaos.planning.scale.run_scale import (
    PlannedMachine,
    machine_for,
    one_plan,
    scale_of,
    scaling_lines,
    served_model_size,
)
from kvchaos.planning.scenario_file import check_stack, find_scenario, load_scenario
from kvchaos.servers.server_registry import ServerEnv, find_server
from kvchaos.stacks.compose.image_builder import server_of
from kvchaos.stacks.compose.images import images_of
from kvchaos.stacks.compose.prepare_project import plan_project
from kvchaos.stacks.device import Platform, device_of
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.prepare_server import LaunchRequest, local_model
from kvchaos.stacks.server_command import Launch, Listening, RunFolders, plan_launch
from kvchaos.stacks.server_files import PLUGIN

TEMP = "kvchaos-xxxxxxxx"
"""Placeholder for the folder that a run makes."""


def plan_command(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario, or path of a scenario file.")],
    stack: Annotated[StackName, typer.Option(help="Where the server runs.")] = DEFAULT_STACK,
    server: Annotated[
        str, typer.Option(help="Server environment; with a compose stack a release.")
    ] = DEFAULT_SERVER,
    port: Annotated[
        int | None, typer.Option(help="Port of the server on 127.0.0.1. Default: a free one.")
    ] = None,
    grafana: Annotated[
        bool, typer.Option("--grafana", help="With a compose stack: include Grafana.")
    ] = False,
    scale: Annotated[
        ScaleName | None, typer.Option(help="Size of the scenario. Default: by the GPU; tiny without one.")
    ] = None,
    card_gib: Annotated[
        float | None,
        typer.Option(min=1, help="Plan for a GPU with this memory in GiB, not the one here."),
    ] = None,
    cards: Annotated[int, typer.Option(min=1, max=64, help="With --card-gib: number of such GPUs.")] = 1,
    host_gib: Annotated[
        float | None, typer.Option(min=1, help="Plan for a host with this memory in GiB.")
    ] = None,
) -> None:
    """Check a scenario, and print the server's command or the Compose project. Starts nothing."""
    loaded = load_scenario(find_scenario(scenario))
    can = CAPABILITIES[stack]
    if not can.starts_server:
        raise UsageError("--stack attach starts nothing, so there is nothing to plan; choose another stack")
    check_stack(loaded, stack)
    platform = can.containers
    cache = cache_folder()
    env = server_of(platform, server, None) if platform else find_server(server, cache)
    chosen = scale_of(scale, env.platform)
    arithmetic: tuple[str, ...] = ()
    request = _launch_request(loaded, env, cache, port, grafana=grafana)
    if chosen is not None:
        machine = machine_for(chosen, PlannedMachine(card_gib, cards, host_gib))
        plan = one_plan(loaded, chosen, machine, served_model_size(chosen))
        arithmetic = scaling_lines(plan.scaling)
        settings, host = plan.scenario.server, machine.host_bytes
        request = replace(request, settings=settings, scale=chosen.name, host_memory=host)
    launch, content = _in_containers(request, platform, server) if platform else _local(request)
    typer.echo(
        f"# {loaded.name} on vLLM {env.vllm}, --stack {stack}; ports are free ones, nothing was started"
    )
    typer.echo(f"# {shlex.join(launch.command)}")
    for line in arithmetic:
        typer.echo(f"# {line}")
    typer.echo(content.rstrip())


def _launch_request(
    scenario: Scenario, env: ServerEnv, cache: Path, port: int | None, *, grafana: bool
) -> LaunchRequest:
    run_id = new_run_id(RunRequest(scenario=scenario, server=env, seed=0, workers=1))
    return LaunchRequest(
        server=env,
        settings=scenario.server,
        run_id=run_id,
        run_dir=runs_folder() / run_id,
        cache=cache,
        port=port,
        grafana=grafana,
    )


def _in_containers(request: LaunchRequest, platform: Platform, version: str) -> tuple[Launch, str]:
    planned = plan_project(request, images_of(platform, version, build_prometheus=False))
    return planned.launch, planned.project.resolved()


def _local(request: LaunchRequest) -> tuple[Launch, str]:
    folders = RunFolders(
        temp=Path(tempfile.gettempdir()) / TEMP,
        plugin=request.run_dir / PLUGIN,
        control=request.run_dir / layout.CONTROL,
    )
    served, listening = local_model(request), Listening(choose_port(request.port))
    device = device_of(request.server.platform, scale=request.scale, host=request.host_memory)
    launch = plan_launch(request.server, request.settings, served, listening, folders, device)
    plan = {"command": list(launch.command), "environment": launch.environment}
    return launch, yaml.safe_dump(plan, sort_keys=False)
