"""The budget of a command: no run starts that would end after it."""

from __future__ import annotations

import pytest

from kvchaos.campaign.run_budget import BudgetSpent, RunBudget


def test_no_run_starts_that_would_end_too_late() -> None:
    now = [0.0]
    budget = RunBudget(100.0, clock=lambda: now[0])
    budget.take()
    now[0] = 40.0
    budget.ended(40.0)
    budget.take()
    now[0] = 70.0
    with pytest.raises(BudgetSpent):
        budget.take()


def test_number_of_runs_is_a_limit() -> None:
    budget = RunBudget(1e9, runs=2)
    budget.take()
    budget.take()
    with pytest.raises(BudgetSpent):
        budget.take()


def test_budget_ends_the_night_between_two_pairs() -> None:
    now = [0.0]
    budget = RunBudget(100.0, clock=lambda: now[0])

    def pair() -> None:
        now[0] += 30.0

    count = 0
    while budget.fits():
        budget.timed(pair)
        count += 1
    assert (count, now[0]) == (3, 90.0)
