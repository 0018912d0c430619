"""Proves on a real server that each kind of fault strikes and has its consequence. Run by hand.

    python -m tests.server.prove_faults --server 0.32.0

`--only NAME` runs some of the proofs (--list names those of a server), `--page-only` none; the table in
docs/faults-proof.md is made anew from all runs of the folder, the newest of each fault and release.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from kvchaos.paths import cache_folder
from kvchaos.servers.server_registry import find_server
from tests.server.proof.cases import Proof, all_proofs, scenario_of
from tests.server.proof.page import gather, into_page

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults-proof.md"


def main() -> int:
    """Prove every fault on real servers and update the page of proofs."""
    parser = argparse.ArgumentParser(description="Prove the faults on a real server.")
    parser.add_argument("--server", action="append", default=[], help="server environment; may be repeated")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be repeated")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "proof", help="folder for the runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page-only", action="store_true", help="run nothing")
    parser.add_argument("--list", action="store_true", help="name the proofs")
    chosen = parser.parse_args()
    for server in () if chosen.page_only else chosen.server:
        release = find_server(server, cache_folder()).release
        proofs = [proof for proof in all_proofs(release) if not chosen.only or proof.name in chosen.only]
        if chosen.list:
            sys.stdout.writelines(f"{proof.name}\n" for proof in proofs)
            return 0
        for number, proof in enumerate(proofs, start=1):
            code = run(proof, server, chosen.runs, chosen.seed)
            sys.stdout.write(f"{server} {number}/{len(proofs)} {proof.name}: exit code {code}\n")
            sys.stdout.flush()
    rows = gather(chosen.runs)
    PAGE.write_text(into_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0 if all(row.consequential for row in rows) else 1


def run(proof: Proof, server: str, runs: Path, seed: int) -> int:
    """One run by the command that users have; its exit code, which says nothing about the proof."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{proof.name}.yaml"
        path.write_text(yaml.safe_dump(scenario_of(proof), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "kvchaos", "run", path, "--server", server, "--runs", runs]
        done = subprocess.run(
            [*map(str, command), "--seed", str(seed)], cwd=ROOT, check=False, capture_output=True, text=True
        )
        if done.returncode == 3:
            sys.stdout.write(f"{proof.name}: {done.stdout[-500:]}{done.stderr[-500:]}\n")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
