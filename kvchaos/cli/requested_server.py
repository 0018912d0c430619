"""The server and the sizes of scenarios that options name, for the commands that run scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from history.scaling import ScaleName, Scaling
from history.scenario import Scenario, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.errors import UsageError
from kvchaos.planning.scale.run_scale import machine_for, scale_of, scaled_plans, served_model_size
from kvchaos.servers.installation import shown
from kvchaos.servers.server_registry import ServerEnv, find_server
from kvchaos.stacks.attach import AttachedServer, inspect_server
from kvchaos.stacks.compose.docker_engine import connect
from kvchaos.stacks.compose.image_builder import ImageBuilder, ensure_images

DEFAULT_SEED = 1
DEFAULT_STACK: StackName = "local"
DEFAULT_SERVER = "0.32.0"


def server_for(
    stack: StackName, url: str | None, server: str | None, cache: Path, *, grafana: bool = False
) -> ServerEnv | AttachedServer:
    """Have its images where it needs any, Grafana's too if that is wanted. Raises UsageError."""
    can = CAPABILITIES[stack]
    if not can.starts_server:
        if url is None or server is not None:
            raise UsageError("--stack attach needs --url http://127.0.0.1:PORT and no --server")
        return inspect_server(url)
    if url is not None:
        raise UsageError("--url needs --stack attach")
    version = server or DEFAULT_SERVER
    if can.containers is None:
        return find_server(version, cache)
    client = connect()
    try:
        with shown(Console(stderr=True)) as progress:
            builder = ImageBuilder(client, cache, progress)
            return ensure_images(builder, can.containers, version, grafana=grafana)
    finally:
        client.close()


def sized(
    scenarios: Sequence[Scenario], name: ScaleName | None, server: ServerEnv | AttachedServer, *, every: bool
) -> list[tuple[Scenario, Scaling | None]]:
    """The scenarios at their scale; with --all those that fit. Raises UsageError."""
    if isinstance(server, AttachedServer):
        if name not in (None, "tiny"):
            raise UsageError("--scale needs a server that kvchaos starts, not --stack attach")
        return [(scenario, None) for scenario in scenarios]
    scale = scale_of(name, server.platform)
    if scale is None:
        return [(scenario, None) for scenario in scenarios]
    plans, misfits = scaled_plans(scenarios, scale, machine_for(scale), served_model_size(scale))
    if misfits and not (every and plans):
        raise UsageError("\n".join(misfits))
    for misfit in misfits:
        typer.echo(f"kvchaos: left out: {misfit}", err=True)
    return [(plan.scenario, plan.scaling) for plan in plans]
