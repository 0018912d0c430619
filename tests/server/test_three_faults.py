"""A missed block, a failed load and a flipped bit show their consequences on a release of each generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.bench import Bench
from tests.server.consequences import doubts
from tests.server.contract.generations import ONE_OF_EACH

pytestmark = pytest.mark.server

SCENARIO = Path(__file__).with_name("three-faults.yaml")
DAMAGED = {"flipped"}
"""The only phase in which answers may differ."""


@pytest.mark.parametrize("release", ONE_OF_EACH)
def test_each_fault_shows_its_consequence_and_damages_nothing_else(bench: Bench, release: str) -> None:
    history = bench.run_scenario(SCENARIO, release, seed=1).run().history
    assert [doubt.text for doubt in doubts(history, DAMAGED)] == []
