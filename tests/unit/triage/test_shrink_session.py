"""A shrink with runs: repeats decide about flaky failures, a killed one goes on, the budget ends it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from history.scenario import FaultSpec, Scenario, Trigger
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.errors import UsageError
from kvchaos.triage.failure_signature import Observation
from kvchaos.triage.failure_trace import FailureTrace
from kvchaos.triage.occurrence_rate import ALWAYS_RULE
from kvchaos.triage.repeated_trials import NotShownAgain
from kvchaos.triage.shrink_session import ShrinkOutcome, ShrinkSession
from kvchaos.triage.shrink_steps import steps_of
from kvchaos.triage.shrinking import ShrinkStep
from kvchaos.triage.shrunk_scenario import size_of
from tests.support.triage_runs import LoggedTrials, ScriptedConduct, triage_scenario

TRACE = FailureTrace(fired={"fail": (2, 5, 9), "slow": (1, 3)})
FAULTS = (
    FaultSpec(id="fail", kind="load_failure", trigger=Trigger(every=3, limit=3)),
    FaultSpec(id="slow", kind="copy_delay", trigger=Trigger(probability=0.5)),
)


def is_enough(scenario: Scenario) -> bool:
    """The fifth invocation of a fault, and three requests at once."""
    fails = [fault.trigger for fault in scenario.faults if fault.id == "fail"]
    chaos = scenario.phases[-1]
    strikes = any(trigger.nth is None or 5 in trigger.nth for trigger in fails)
    return strikes and chaos.requests >= 6 and chaos.concurrency >= 3


def always(scenario: Scenario) -> Observation:
    return "shows" if is_enough(scenario) else "absent"


def flaky(scenario: Scenario, draws: random.Random) -> Observation:
    return "shows" if is_enough(scenario) and draws.random() < 0.5 else "absent"


def session(
    trials: LoggedTrials, conduct: Callable[[Scenario], Observation] | ScriptedConduct
) -> ShrinkSession:
    made = conduct if isinstance(conduct, ScriptedConduct) else ScriptedConduct(conduct)
    start = triage_scenario(faults=FAULTS)
    return ShrinkSession(start, partial(steps_of, TRACE), made, trials.trials)


def is_smallest(scenario: Scenario) -> bool:
    size = size_of(scenario)
    return (size.faults, size.firings, size.phases, size.requests, size.concurrency) == (1, 1, 1, 6, 3)


def test_smallest_scenario_has_one_firing_and_the_requests_that_it_needs(tmp_path: Path) -> None:
    outcome = session(LoggedTrials(tmp_path), always).run()
    assert is_smallest(outcome.scenario)
    assert outcome.scenario.faults[0].trigger == Trigger(nth=(5,))
    assert outcome.scenario.server.audit is False
    assert outcome.complete
    assert outcome.rule == ALWAYS_RULE
    assert (outcome.before.shown, outcome.before.runs) == (2, 2)
    assert outcome.after.always


def load_steps(scenario: Scenario) -> Iterator[ShrinkStep[Scenario]]:
    """Without lengths, settings and deadlines, which would make a hundred searches slow."""
    parts = ("faults", "phases")
    return (step for step in steps_of(TRACE, scenario) if step.name.startswith(parts))


def flaky_outcome(folder: Path, seed: int) -> ShrinkOutcome:
    """A failure of half the runs."""
    draws = random.Random(seed)
    (folder / str(seed)).mkdir()
    conduct = ScriptedConduct(lambda scenario: flaky(scenario, draws))
    trials = LoggedTrials(folder / str(seed)).trials
    return ShrinkSession(triage_scenario(faults=FAULTS), load_steps, conduct, trials).run()


def test_flaky_failure_of_half_the_runs_is_shrunk_as_far_for_95_of_100_seeds(tmp_path: Path) -> None:
    found = sum(is_smallest(flaky_outcome(tmp_path, seed).scenario) for seed in range(100))
    assert found >= 95


def test_rule_of_a_flaky_failure_states_its_tries(tmp_path: Path) -> None:
    outcome = flaky_outcome(tmp_path, 3)
    assert outcome.before.flaky or outcome.after.flaky
    assert outcome.rule.tries > 5


def test_killed_shrink_goes_on_without_repeating_a_run(tmp_path: Path) -> None:
    whole = ScriptedConduct(always)
    (tmp_path / "whole").mkdir()
    expected = session(LoggedTrials(tmp_path / "whole"), whole).run()
    conducted: list[Scenario] = []
    for end_at in (1, 2, 7, 11, 1_000_000):
        part = ScriptedConduct(always, end_at=end_at)
        trials = LoggedTrials(tmp_path)
        try:
            outcome = session(trials, part).run()
        except KeyboardInterrupt:
            pass
        finally:
            conducted += part.conducted
            trials.log.close()
    assert outcome == expected
    assert conducted == whole.conducted


def test_spent_budget_leaves_the_smallest_scenario_so_far(tmp_path: Path) -> None:
    outcome = session(LoggedTrials(tmp_path, RunBudget(1e9, runs=9)), always).run()
    assert not outcome.complete
    assert is_enough(outcome.scenario)
    assert len(outcome.scenario.faults) < 2


def test_failure_that_no_run_shows_again_is_not_shrunk(tmp_path: Path) -> None:
    conduct = ScriptedConduct(lambda scenario: "absent")
    with pytest.raises(NotShownAgain) as error:
        session(LoggedTrials(tmp_path), conduct).run()
    assert (error.value.rate.shown, error.value.rate.runs) == (0, 10)


def test_scenario_that_shows_it_only_by_luck_is_rejected(tmp_path: Path) -> None:
    """With fewer than 20 requests the failure is flaky; with 20 or more it always shows."""
    draws = random.Random(1)

    def observe(scenario: Scenario) -> Observation:
        lucky = scenario.phases[-1].requests >= 20 or draws.random() < 0.4
        return "shows" if lucky else "absent"

    outcome = session(LoggedTrials(tmp_path), observe).run()
    assert outcome.after.shown >= 4


def test_settings_with_which_no_server_starts_are_rejected_at_once(tmp_path: Path) -> None:
    def observe(scenario: Scenario) -> Observation:
        return always(scenario) if scenario.server.audit else "server start"

    trials = LoggedTrials(tmp_path)
    outcome = session(trials, observe).run()
    assert outcome.scenario.server.audit is True
    assert is_smallest(outcome.scenario)
    by_key = [trial.key for trial in trials.log.trials if trial.observation == "server start"]
    assert len(by_key) == len(set(by_key))


def test_busy_client_is_repeated_once(tmp_path: Path) -> None:
    busy = iter([True, False])

    def observe(scenario: Scenario) -> Observation:
        return "client" if is_smallest(scenario) and next(busy, False) else always(scenario)

    assert is_smallest(session(LoggedTrials(tmp_path), observe).run().scenario)


def test_environment_that_fails_again_and_again_ends_the_shrink(tmp_path: Path) -> None:
    trials = LoggedTrials(tmp_path)

    def observe(scenario: Scenario) -> Observation:
        return "shows" if len(trials.log.trials) < 4 else "environment"

    with pytest.raises(UsageError, match="environment"):
        session(trials, observe).run()
    assert len(trials.log.trials) == 4 + 3 * 2


def test_run_directories_that_the_result_does_not_need_are_removed(tmp_path: Path) -> None:
    trials = LoggedTrials(tmp_path)
    outcome = session(trials, always).run()
    kept = {trial.run for trial in trials.log.trials} - set(trials.discarded)
    runs = {trial.run for trial in trials.log.trials if trial.observation == "shows"}
    assert kept
    assert kept <= runs
    assert len(kept) < 12
    assert outcome.after.shown == 5
