"""The seed chooses what lives in a swarm, and a replay strikes what its run struck."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kvchaos.planning.run_plan import swarm
from kvchaos.planning.scenario_file import load_scenario
from tests.server.bench import OLD, SEED, Bench, RunDir
from tests.server.prove_replays import SCENARIO, differences, fired

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, server_cache: Path) -> Bench:
    """One for all tests of this module."""
    return Bench(tmp_path_factory.mktemp("replay"), server_cache)


@pytest.fixture(scope="module")
def swarmed(bench: Bench) -> RunDir:
    """A run of the scenario as a swarm."""
    content = yaml.safe_load(SCENARIO.read_text()) | {"swarm": True}
    path = bench.folder / SCENARIO.name
    path.write_text(yaml.safe_dump(content))
    # This seed leaves some faults out and the flip in, which the scenario expects to be seen.
    finished = bench.run_scenario(path, OLD, seed=SEED)
    assert finished.code == 0, finished.out
    return finished.run()


def test_swarm_arms_only_the_faults_chosen_by_the_seed(swarmed: RunDir) -> None:
    scenario = load_scenario(SCENARIO)
    living = {fault.id for fault in swarm(scenario.model_copy(update={"swarm": True}), SEED).faults}
    assert 1 < len(living) < len(scenario.faults)
    assert {line.fault for line in swarmed.journal("armed")} == living
    assert {line.fault for line in swarmed.journal("fired")} == living


def test_replay_strikes_the_invocations_of_its_run(swarmed: RunDir, bench: Bench) -> None:
    finished = bench.run("run", "--replay", str(swarmed.path))
    assert finished.code == 0, finished.out
    again = finished.run()
    assert list(differences(swarmed, again)) == []
    assert fired(again)
    assert not again.history.plan.scenario.swarm
