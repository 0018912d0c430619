"""`kvchaos server`: install, add, list and remove server environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.cli.plain_tables import plain_table, print_table
from kvchaos.paths import cache_folder
from kvchaos.servers import add_server as adding
from kvchaos.servers import install_server as installing
from kvchaos.servers.install_progress import shown
from kvchaos.servers.server_registry import ServerEnv, list_servers

app = typer.Typer(no_args_is_help=True, help="Install, add, list and remove server environments.")


@app.command()
def install(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A vLLM release, such as 0.32.0.")],
) -> None:
    """Install a vLLM release for the CPU. Does nothing when it is there and whole."""
    console = Console(stderr=True)
    with shown(console) as progress:
        server = installing.install(version, cache_folder(), progress)
    _print_server(server)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    python: Annotated[Path, typer.Option(help="The interpreter of an environment that has vLLM.")],
) -> None:
    """Note an environment of your own under a name. It is never changed or deleted."""
    console = Console(stderr=True)
    with shown(console) as progress:
        server = adding.add(name, python, cache_folder(), progress)
    _print_server(server)


@app.command("list")
def list_() -> None:
    """List the server environments."""
    servers = list_servers(cache_folder())
    if not servers:
        typer.echo("no server yet; install one with: kvchaos server install 0.32.0")
        return
    table = plain_table("name", "vLLM", "torch", "Python", "kind", "interpreter")
    for server in servers:
        table.add_row(
            server.name, server.vllm, server.torch, server.python_version, server.kind, str(server.python)
        )
    print_table(table)


@app.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Remove an installed environment, or forget an added one."""
    with shown(Console(stderr=True)) as progress:
        installing.remove(name, cache_folder(), progress)
    typer.echo(f"removed {name}")


def _print_server(server: ServerEnv) -> None:
    typer.echo(f"{server.name}: vLLM {server.vllm}, torch {server.torch}, Python {server.python_version}")
