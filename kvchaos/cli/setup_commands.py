"""The commands that set up this machine: `kvchaos doctor`, `kvchaos server`, `kvchaos tools`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kvchaos.doctor import gpu
from kvchaos.doctor.all_checks import examine
from kvchaos.doctor.check import CheckState
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, runs_folder
from kvchaos.prometheus.program import PROMETHEUS
from kvchaos.report.text_tables import plain_table, print_table
from kvchaos.servers import install_server as installing
from kvchaos.servers.installation import InstallProgress, shown
from kvchaos.servers.server_registry import ServerEnv, list_servers
from kvchaos.tools.amtool import AMTOOL
from kvchaos.tools.installer import existing_tool, install_tools
from kvchaos.tools.otava import OTAVA
from kvchaos.tools.tool import CHROMIUM, Tool, in_ci

COLOURS = {CheckState.OK: "green", CheckState.WARN: "yellow", CheckState.BAD: "red"}


def doctor(
    with_gpu: Annotated[
        bool, typer.Option("--gpu", help="Also check what containers with a GPU need.")
    ] = False,
) -> None:
    """Check this machine, and print the command that fixes each problem."""
    checks = list(examine(cache_folder(), runs_folder()))
    if with_gpu:
        checks += gpu.examine(None)
    table = plain_table("check", "", "found", "what to do")
    for check in checks:
        state = f"[{COLOURS[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, escape(check.found), escape(check.fix))
    print_table(table)
    if any(check.state is CheckState.BAD for check in checks):
        raise typer.Exit(3)


server_app = typer.Typer(no_args_is_help=True, help="Install, add, list and remove server environments.")


@server_app.command("install")
def install_server(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A vLLM release, such as 0.32.0.")],
) -> None:
    """Install a vLLM release for the CPU. Does nothing if it is installed."""
    console = Console(stderr=True)
    with shown(console) as progress:
        server = installing.install(version, cache_folder(), progress)
    _print_server(server)


@server_app.command("add")
def add_server(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the environment.")],
    python: Annotated[Path, typer.Option(help="Python interpreter of an environment with vLLM.")],
) -> None:
    """Register an environment of your own under a name. kvchaos never changes or deletes it."""
    console = Console(stderr=True)
    with shown(console) as progress:
        server = installing.add(name, python, cache_folder(), progress)
    _print_server(server)


@server_app.command("list")
def list_command() -> None:
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


@server_app.command("remove")
def remove_server(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the environment.")],
) -> None:
    """Remove an installed environment, or forget an added one."""
    with shown(Console(stderr=True)) as progress:
        installing.remove(name, cache_folder(), progress)
    typer.echo(f"removed {name}")


def _print_server(server: ServerEnv) -> None:
    typer.echo(f"{server.name}: vLLM {server.vllm}, torch {server.torch}, Python {server.python_version}")


ALL_TOOLS = (PROMETHEUS, AMTOOL, CHROMIUM)
LARGE_TOOLS = (OTAVA,)
"""Installed only by name."""

tools_app = typer.Typer(
    no_args_is_help=True, help="Install Prometheus, amtool, Chromium and Otava without root."
)


@tools_app.callback()
def tools_group() -> None:
    """Keeps `tools` a group, although it has one command."""


@tools_app.command("install")
def install_programs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="prometheus, amtool, chromium or otava. Default: the first three."
        ),
    ] = None,
) -> None:
    """Install Prometheus, amtool and Chromium if this machine lacks them, without root.

    `kvchaos run --prometheus` needs Prometheus, the tests of kvchaos need the other two. `kvchaos nightly
    creep` needs Otava, 240 MB. A program that cannot be obtained is reported; with CI=true it is an error.
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
    known = {tool.name: tool for tool in (*ALL_TOOLS, *LARGE_TOOLS)}
    for name in names or ():
        if name not in known:
            raise UsageError(f"tool {name!r} is unknown; choose from: {', '.join(known)}")
    return [known[name] for name in names] if names else list(ALL_TOOLS)


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
