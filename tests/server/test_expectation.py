"""Expectations are strict in both directions, and chaos that did not happen proves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.bench import COUNTER_BUG, OLD, Bench, scenario_content

pytestmark = pytest.mark.server


def test_unexpected_failure_is_not_as_expected(bench: Bench) -> None:
    finished = bench.run_scenario(bench.variant("mid-prefill-preemption", expect=[]), OLD)
    assert finished.code == 1, finished.out
    run = finished.run()
    assert run.verdict.outcome == "not as expected"
    assert {"server-alive", "counters"} <= run.failed()
    assert [cause.signature for cause in run.verdict.causes] == [COUNTER_BUG]
    (reason,) = run.verdict.reasons
    assert reason.split()[0] == "server-alive/died"


def test_missing_expected_failure_is_not_as_expected(bench: Bench) -> None:
    expect = [{"releases": ">=0", "fail": ["answers"], "issue": "example#1"}]
    finished = bench.run_scenario(bench.variant("baseline-offload", expect=expect), OLD)
    assert finished.code == 1, finished.out
    run = finished.run()
    assert run.verdict.outcome == "not as expected"
    assert run.failed() == set()
    (reason,) = run.verdict.reasons
    assert reason.startswith("answers ")
    assert "example#1" in reason


def test_a_dry_run_damages_nothing_and_is_unknown(bench: Bench) -> None:
    (fault,) = scenario_content("corruption-canary")["faults"]
    dry: dict[str, Any] = {**fault, "params": {"dry_run": True}}
    finished = bench.run_scenario(bench.variant("corruption-canary", faults=[dry], expect=[]), OLD)
    assert finished.code == 2, finished.out
    run = finished.run()
    assert run.verdict.outcome == "unknown"
    assert run.result_of("faults-fired").verdict == "unknown"
    assert run.result_of("answers").verdict == "pass"
    assert run.result_of("answers").checked > 0
    assert run.journal("fired") == []
    assert [line.n for line in run.journal("refused", "flip")] == [3, 7, 11]
