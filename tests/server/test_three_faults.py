"""A missed block, a failed load and a flipped bit show their effects on a release of each generation.

On the releases of the campaigns, scenarios of their own show the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.bench import RELEASES, Bench
from tests.server.consequences import doubts
from tests.server.contract.generations import ONE_OF_EACH

pytestmark = pytest.mark.server

SCENARIO = Path(__file__).with_name("three-faults.yaml")
DAMAGED = {"flipped"}
"""The only phase in which answers may differ."""


@pytest.mark.parametrize("release", [release for release in ONE_OF_EACH if release not in RELEASES])
def test_each_fault_is_effective_and_harms_no_other_phase(bench: Bench, release: str) -> None:
    history = bench.run_scenario(SCENARIO, release, seed=1).run().history
    assert [doubt.text for doubt in doubts(history, DAMAGED)] == []
