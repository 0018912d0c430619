"""The command `kvchaos`: its commands, and the exit codes that all of them share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from kvchaos import __version__
from kvchaos.cli import bench, clean, client_bench, doctor, faults, judge, oracles, plan, server, worker
from kvchaos.cli import run as run_scenarios
from kvchaos.errors import UsageError

EXIT_USAGE = 3
"""Bad input or a bad environment. 0, 1 and 2 speak of verdicts: as expected, not as expected, unknown."""
EXIT_INTERRUPTED = 130

app = typer.Typer(name="kvchaos", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

# Commands are registered here, in the order of the help text.
app.command("run")(run_scenarios.run_command)
app.command("plan")(plan.plan_command)
app.command("worker")(worker.worker_command)
app.command("judge")(judge.judge_command)
app.add_typer(server.app, name="server")
app.command("faults")(faults.faults_command)
app.command("oracles")(oracles.oracles_command)
app.add_typer(bench.app, name="bench")
app.command("client-bench")(client_bench.client_bench_command)
app.command("doctor")(doctor.doctor)
app.command("clean")(clean.clean_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kvchaos {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Load-test and chaos benchmark for vLLM servers that offload KV cache to CPU memory."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
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
