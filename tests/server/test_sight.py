"""On a real server: every oracle finds its mutants, and none speaks up without a reason."""

from __future__ import annotations

import pytest

from tests.server.bench import Bench

PROOF_S = 1200.0
"""Some 17 runs of a server."""


@pytest.mark.server
@pytest.mark.timeout(PROOF_S + 60)
def test_every_mutant_is_found_and_no_oracle_goes_red_beside(bench: Bench) -> None:
    finished = bench.start("oracles", "--prove", "--runs", str(bench.runs)).finish(PROOF_S)
    assert finished.code == 0, finished.out[-4000:] + finished.err[-2000:]
