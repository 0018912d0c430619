"""Every scenario as a test, every oracle of it as a subtest. Not part of the usual run.

pytest tests/e2e --stack local --server 0.32.0
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from history.reader import read_plan
from kvchaos.campaign.campaign import run_one
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.judging.outcome import ExpectationMatch, match_expectation
from kvchaos.paths import Workspace, cache_folder
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.servers.server_registry import ServerEnv


def test_scenario(
    scenario_file: Path, server: ServerEnv, seed: int, runs: Path, subtests: pytest.Subtests
) -> None:
    request = RunRequest(scenario=load_scenario(scenario_file), server=server, seed=seed, workers=1)
    workspace = Workspace(cache=cache_folder(), runs=runs, port=None)
    run_dir, _ = run_one(request, workspace, Console())
    verdict = judge_run_dir(run_dir)
    expectation = read_plan(run_dir).expectation
    for result in verdict.results:
        with subtests.test(oracle=result.oracle):
            # Strict in both directions: an expected failure that does not come is one.
            stands = match_expectation(result, expectation, verdict.causes)
            fine = (
                ExpectationMatch.EXPECTED,
                ExpectationMatch.EXPLAINED,
                ExpectationMatch.FOLLOWS,
                ExpectationMatch.IGNORED,
            )
            assert stands in fine, f"{result.summary}; see {run_dir}"
    assert verdict.outcome == "as expected", "; ".join(verdict.reasons)
