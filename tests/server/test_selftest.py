"""On a real server: every oracle finds a mutant that is made for it, and none speaks up without a reason.

Some of the proof's runs, enough for each oracle; `kvchaos oracles --selftest` makes them all.
"""

from __future__ import annotations

import pytest

from kvchaos.selftest.alterations import ALTERATIONS
from kvchaos.selftest.mutants.sessions import sessions
from oracles import ORACLES
from tests.server.bench import Bench

PROOF_S = 2400.0
RUNS = (
    "untouched",
    "one",
    "three",
    "four",
    "struck",
    "slow-client",
    "slow",
    "never-offloaded",
    "two-witnesses",
    "lost-end",
)
NO_MUTANT = {"gpu"}
"""Nothing between the server and the suite can change what a GPU's driver says: altered histories alone."""


def test_selftest_has_a_mutant_for_every_oracle() -> None:
    mutants = [mutant for session in sessions() if session.name in RUNS for mutant in session.mutants]
    killers = {kill.oracle for mutant in mutants for kill in mutant.kills}
    altered = {alteration.rule.oracle for alteration in ALTERATIONS}
    assert killers | NO_MUTANT == {oracle.name for oracle in ORACLES}
    assert not killers & NO_MUTANT
    assert altered >= NO_MUTANT


@pytest.mark.server
@pytest.mark.prometheus
@pytest.mark.timeout(PROOF_S + 60)
def test_every_mutant_is_killed_and_no_other_oracle_fails(bench: Bench) -> None:
    only = [argument for name in RUNS for argument in ("--only", name)]
    finished = bench.start("oracles", "--selftest", *only, "--runs", str(bench.runs)).finish(PROOF_S)
    assert finished.code == 0, finished.out[-4000:] + finished.err[-2000:]
