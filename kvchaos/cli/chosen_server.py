"""The server that the options of a command name together."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from history.scenario import StackName
from kvchaos.errors import UsageError
from kvchaos.servers.install_progress import shown
from kvchaos.servers.server_registry import ServerEnv, find_server
from kvchaos.stacks.attach import AttachedServer, inspect_server
from kvchaos.stacks.compose.container_runtime import connect
from kvchaos.stacks.compose.image_builder import ImageBuilder, ensure_images
from kvchaos.stacks.device import Platform

DEFAULT_SERVER = "0.32.0"
PLATFORMS: dict[StackName, Platform] = {"compose-cpu": "cpu", "compose-gpu": "cuda"}
"""Of the stacks in containers."""


def server_for(
    stack: StackName, url: str | None, server: str | None, cache: Path, *, grafana: bool = False
) -> ServerEnv | AttachedServer:
    """Have its images where it needs any, Grafana's too if that is wanted. Raises UsageError."""
    if stack == "attach":
        if url is None or server is not None:
            raise UsageError(
                "--stack attach takes the server at --url http://127.0.0.1:PORT, and no --server"
            )
        return inspect_server(url)
    if url is not None:
        raise UsageError("--url goes with --stack attach")
    version = server or DEFAULT_SERVER
    if stack not in PLATFORMS:
        return find_server(version, cache)
    client = connect()
    try:
        with shown(Console(stderr=True)) as progress:
            return ensure_images(
                ImageBuilder(client, cache, progress), PLATFORMS[stack], version, grafana=grafana
            )
    finally:
        client.close()
