"""The seed decides which arrivals are struck: not the order of threads, not the run."""

from __future__ import annotations

import pytest

from chaos.inside.trigger_decisions import expected_firings
from history.protocol.schedule import Trigger
from tests.server.bench import CAMPAIGN_S, OLD, Bench, RunDir
from tests.server.conftest import Campaigns

pytestmark = [pytest.mark.server, pytest.mark.timeout(CAMPAIGN_S + 100)]

SCENARIO = "load-failure-recompute"


def struck(run: RunDir) -> list[tuple[str | None, int | None]]:
    return [(line.fault, line.n) for line in run.journal("fired")]


def predicted(run: RunDir) -> list[tuple[str, int]]:
    """What the seed decides for the arrivals that the run had."""
    (fault,) = run.history.plan.scenario.faults
    (healed,) = run.journal("healed", fault.id)
    assert healed.site is not None
    assert healed.n is not None
    trigger = Trigger(probability=fault.trigger.probability, limit=fault.trigger.limit)
    seed = run.history.plan.seed
    return [(fault.id, n) for n in expected_firings(trigger, seed, fault.id, healed.site, healed.n)]


def test_same_seed_strikes_the_same_invocations_and_another_seed_others(
    campaigns: Campaigns, bench: Bench
) -> None:
    (first,) = (run for run in campaigns(OLD).runs() if run.scenario == SCENARIO)
    finished = bench.run_scenario(SCENARIO, OLD, "--repeat", "2")
    assert finished.code == 0, finished.out
    again, other = finished.runs()
    assert again.history.plan.seed == first.history.plan.seed == other.history.plan.seed - 1
    assert struck(first) == struck(again) == predicted(again)
    assert struck(first) == predicted(first)
    assert struck(other) == predicted(other)
    assert struck(other) != struck(first)
