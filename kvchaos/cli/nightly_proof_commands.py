"""The command `kvchaos nightly prove`: what the nightly decision finds, and how often it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kvchaos.errors import UsageError
from kvchaos.nightly.night_store import read_nights
from kvchaos.nightly.proof.mock_pairs import MockPairs
from kvchaos.nightly.proof.mock_runs import MockPairsFailed
from kvchaos.nightly.proof.nightly_proof import ProofSize, prove
from kvchaos.nightly.proof.proof_bisections import measure_bisections
from kvchaos.nightly.proof.proof_checks import aim_checks
from kvchaos.nightly.proof.proof_data import PROOF, read_proof, write_proof
from kvchaos.nightly.proof.proof_page import check_rows, insert_proof
from kvchaos.nightly.proof.proof_runs import measure_delayed, measure_nights
from kvchaos.nightly.proof.stored_pairs import SERVER_AA, append_pairs, read_pairs, server_nights
from kvchaos.paths import LogFolder, cache_folder, logs_folder
from kvchaos.report.text_tables import plain_table, print_table, update_page
from loadtests.mock.mock_process import MockFailed

STORED = Path("benchmarks/nightly_pairs")
SEARCHES = 5
"""Live searches for a slow build."""
MAX_SEED = 1_000_000
SIZE = ProofSize()


def prove_command(
    history: Annotated[
        Path, typer.Option(help="Folder of the stored pairs; the result is written there, too.")
    ] = STORED,
    live: Annotated[
        int,
        typer.Option(
            min=0,
            help="Nights with a known delay to have stored; missing ones are measured. 0: measure nothing.",
        ),
    ] = 30,
    nights: Annotated[
        int, typer.Option(min=0, help="Nights of equal builds to have stored; missing ones are measured.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of all random choices.")] = 1,
    server_history: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a history of real servers: store its nights of the control against itself, too."
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Update the tables in this page from the last result; measure nothing."),
    ] = None,
) -> int:
    """Measure on the mock server what the decision about a night finds, and how often it is wrong.

    Exit code: 0 when all aims are met, 1 when one is not, 2 when nothing is stored for one, 3 for bad input.
    """
    if page is not None:
        proof = read_proof(history / PROOF)
        update_page(page, lambda text: insert_proof(text, proof))
        return 0
    if server_history is not None:
        _store_server_nights(server_history, history)
    if live:
        _measure(history, live, nights, seed)
    proof = prove(read_pairs(history), seed, SIZE)
    write_proof(proof, history / PROOF)
    checks = aim_checks(proof)
    headings, rows = check_rows(checks)
    table = plain_table(*headings)
    for row in rows:
        table.add_row(*row)
    print_table(table)
    if any(check.met is False for check in checks):
        return 1
    return 2 if any(check.met is None for check in checks) else 0


def _store_server_nights(server_history: Path, folder: Path) -> None:
    """Those that are not stored yet. Raises UsageError."""
    known = {night.night for night in read_pairs(folder).server_aa}
    for night in server_nights(read_nights(server_history)):
        if night.night not in known:
            append_pairs(folder / SERVER_AA, night)


def _measure(history: Path, live: int, nights: int, seed: int) -> None:
    """Raises UsageError."""
    console = Console(stderr=True)

    def report(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    logs = LogFolder(logs_folder(cache_folder()) / "nightly-proof")
    try:
        logs.empty()
        with logs.scratch("pairs") as folder, MockPairs(folder) as pairs:
            measure_delayed(pairs, history, live, seed, report)
            measure_nights(pairs, history, nights, seed, report)
            measure_bisections(pairs, history, SEARCHES, seed, report)
    except (MockPairsFailed, MockFailed, OSError) as error:
        raise UsageError(f"the pairs were not measured: {error}; logs: {logs.path}") from error
