"""The command `kvchaos`: its commands, and the exit codes that all of them share."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NoReturn

import typer

from history.protocol.extensions import broken
from kvchaos import __version__
from kvchaos.cli.renamed_options import check_options
from kvchaos.errors import UsageError

EXIT_USAGE = 3
"""Bad input or a bad environment. 0, 1 and 2 speak of verdicts: as expected, not as expected, unknown."""
EXIT_INTERRUPTED = 130

COMMANDS = {
    "run": "run_command:run_command",
    "session": "session_command:session_command",
    "plan": "plan_command:plan_command",
    "calibrate": "calibrate_command:calibrate_command",
    "worker": "worker_command:worker_command",
    "judge": "judge_command:judge_command",
    "reseal": "judge_command:reseal_command",
    "reproduce": "reproduce_command:reproduce_command",
    "shrink": "shrink_command:shrink_command",
    "bisect": "bisect_command:bisect_command",
    "issue": "issue_command:issue_command",
    "triage": "triage_command:triage_command",
    "server": "setup_commands:server_app",
    "tools": "setup_commands:tools_app",
    "faults": "faults_command:faults_command",
    "oracles": "oracles_command:oracles_command",
    "workloads": "workloads_command:workloads_command",
    "bugs": "bugs_command:bugs_command",
    "matrix": "matrix_command:matrix_command",
    "bench": "bench_command:app",
    "client-bench": "client_bench_command:client_bench_command",
    "nightly": "nightly_command:app",
    "soak": "soak_command:soak_command",
    "doctor": "setup_commands:doctor",
    "clean": "clean_command:clean_command",
}
"""Module in kvchaos.cli and its function or group of commands, in the order of the help text."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kvchaos {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Load-test and chaos benchmark for vLLM servers that offload KV cache to CPU memory."""


def application(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that these arguments name; with all commands if they name none.

    Each command imports much that the others do without: `--version` alone would take seconds.
    """
    app = typer.Typer(
        name="kvchaos", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(root)
    for name in _needed(arguments):
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(f"kvchaos.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
            for command in found.registered_commands:
                command.help = command.help or _help_text(command.callback)
        else:
            app.command(name, help=_help_text(found))(found)
    return app


def _help_text(command: Callable[..., object] | None) -> str:
    """The docstring of a command with one line a paragraph, which the help text wraps to the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(command) or "").split("\n\n"))


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    first = arguments[0] if arguments else ""
    if first == "--version":
        return ()
    return (first,) if first in COMMANDS else COMMANDS


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        check_options(arguments)
        app = application(arguments)
        # Whatever a command imports has registered the units of other packages by now.
        if broken:
            return _complain(f"{broken[0]}; fix or uninstall that package")
        outcome = app(list(arguments), prog_name="kvchaos", standalone_mode=False)
    except UsageError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        if not error.format_message():
            return EXIT_USAGE  # the help text was shown instead
        return _complain(f"{error.format_message()} See: kvchaos --help")
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("kvchaos: interrupted", err=True)
        return EXIT_INTERRUPTED
    return outcome if isinstance(outcome, int) else 0


def _complain(message: str) -> int:
    typer.echo(f"kvchaos: {message}", err=True)
    return EXIT_USAGE


def main() -> NoReturn:
    """Entry point of the script."""
    sys.exit(run(sys.argv[1:]))
