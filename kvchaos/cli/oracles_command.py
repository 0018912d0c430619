"""The command `kvchaos oracles`: the judges, and the proof that they can see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.campaign.campaign import clean_orphans
from kvchaos.cli.requested_server import DEFAULT_SERVER
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.prometheus.program import need_prometheus
from kvchaos.report.text_tables import plain_table, print_table, update_page
from kvchaos.selftest.kill_matrix import SessionScore, insert_tables, kill_matrix, run_sessions
from kvchaos.selftest.mutants.mutant import Session
from kvchaos.selftest.mutants.sessions import sessions
from kvchaos.servers.server_registry import find_server
from oracles import ORACLES, ORIGINS, all_rules


def oracles_command(
    selftest: Annotated[
        bool,
        typer.Option(
            "--selftest",
            help="Run all mutants against a real server. Exit code 0: each is detected without false alarms.",
        ),
    ] = False,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Server environment (kvchaos server list). Default: 0.32.0.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a run of the self-test; may be repeated. Default: all.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for run directories. Default: ./runs.")] = None,
    page: Annotated[Path | None, typer.Option(help="Update the tables in this page; print nothing.")] = None,
) -> int:
    """List the oracles or their rules, or run the self-test of the oracles."""
    if not selftest:
        if server or only or runs:
            raise UsageError("--server, --only and --runs need --selftest")
        if page is not None and rules:
            raise UsageError("give --page or --rules, not both")
        if page is not None:
            update_page(page, insert_tables)
        elif rules:
            _list_rules()
        else:
            _list()
        return 0
    if page is not None or rules:
        raise UsageError(f"give {'--page' if page else '--rules'} or --selftest, not both")
    chosen = _chosen(only)
    workspace = Workspace(cache=cache_folder(), runs=runs.absolute() if runs else runs_folder(), port=None)
    if any(session.prometheus for session in chosen):
        need_prometheus(os.environ)
    environment = find_server(server or DEFAULT_SERVER, workspace.cache)
    console = Console()
    clean_orphans(workspace, console)
    scored: list[SessionScore] = []
    for run in run_sessions(chosen, environment, workspace, console):
        console.print(f"{run.session}: {_result_line(run)}", markup=False, highlight=False)
        scored.append(run)
    console.print(kill_matrix(scored), markup=False, highlight=False, soft_wrap=True)
    complete = {session.name for session in chosen} <= {run.session for run in scored}
    return 0 if complete and all(run.passed for run in scored) else 1


def _list() -> None:
    table = plain_table("oracle", "from", "checks that")
    for oracle in ORACLES:
        table.add_row(oracle.name, ORIGINS[oracle.name], oracle.purpose)
    print_table(table)


def _list_rules() -> None:
    table = plain_table("rule", "from", "condition")
    for rule in all_rules():
        table.add_row(rule.id, ORIGINS[rule.oracle], rule.law)
    print_table(table)


def _chosen(only: list[str] | None) -> list[Session]:
    known = {session.name: session for session in sessions()}
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: no such run of the self-test; there are {', '.join(known)}")
    return [known[name] for name in only] if only else list(known.values())


def _result_line(run: SessionScore) -> str:
    detected = sum(row.killed for row in run.rows)
    return f"{detected} of {len(run.rows)} detected, {len(run.unexpected)} unexpected findings"
