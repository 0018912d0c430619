"""The page of the proof: its tables are those of the stored proof, and complete."""

from __future__ import annotations

from pathlib import Path

from kvchaos.cli.nightly_proof_commands import prove_command
from kvchaos.nightly.proof.proof_data import PROOF, read_proof
from kvchaos.nightly.proof.proof_page import insert_proof, proof_tables
from tests.support.source_tree import ROOT

STORED = ROOT / "benchmarks" / "nightly_pairs"
PAGE = ROOT / "docs" / "nightly-proof.md"


def test_page_in_the_repository_is_that_of_the_stored_proof(tmp_path: Path) -> None:
    """Update it with `kvchaos nightly prove --page docs/nightly-proof.md`."""
    proof = read_proof(STORED / PROOF)
    assert insert_proof(PAGE.read_text(), proof) == PAGE.read_text()
    assert all(rows for _, rows in proof_tables(proof).values())
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text().replace(" met |", " unmet |"))
    assert prove_command(history=STORED, page=page) == 0
    assert page.read_text() == PAGE.read_text()
