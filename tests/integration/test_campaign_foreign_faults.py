"""A fault from outside of another package that raises ends a run with one line, and nothing of it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.events import RunFailed
from history.reader import read_history
from tests.support.fake_server_runs import ROOT, SERVER, Bench, finished, scenario, write_scenario

MODULE = """
from dataclasses import replace
from chaos.outside.faults.pause import FAULTS as OWN

class Closed:
    def apply(self):
        self.fail("apply")
    def verify(self):
        self.fail("verify")
    def revert(self):
        self.fail("revert")
    def reverted(self):
        self.fail("reverted")
    def fail(self, name):
        if name == {method!r}:
            raise KeyError("acme is closed")

FAULTS = (replace(OWN[0], name="acme_pause", inject=lambda injection, target: Closed()),)
"""
ORIGIN = "acme-outside 1.0"


def bring(site: Path, method: str) -> None:
    """Install a package whose fault raises in this method."""
    metadata = site / "acme_outside-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-outside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kvchaos.faults]\npause = acme_outside:FAULTS\n")
    (site / "acme_outside.py").write_text(MODULE.format(method=method))


@pytest.mark.parametrize("method", ["apply", "revert"])
def test_foreign_outside_fault_that_raises_ends_the_run_with_one_line(tmp_path: Path, method: str) -> None:
    site = tmp_path / "site"
    bring(site, method)
    bench = Bench(tmp_path, {"PYTHONPATH": f"{site}:{ROOT}"})
    content = scenario(load=200)
    content["phases"][1]["role"] = "chaos"
    content["faults"] = [
        {"id": "acme", "kind": "acme_pause", "trigger": {"nth": [0]}, "params": {"duration_s": 0.0}}
    ]
    path = write_scenario(tmp_path / "small.yaml", content)
    code, _, err = finished(bench.command("run", str(path), "--server", SERVER))
    assert code == 3, err
    (line,) = err.splitlines()
    for part in ("acme_pause", ORIGIN, "acme is closed"):
        assert part in line
    assert list(bench.state_folder.iterdir()) == []
    (failed,) = read_history(bench.run_dir()).events_of(RunFailed)
    assert ORIGIN in failed.data.reason
