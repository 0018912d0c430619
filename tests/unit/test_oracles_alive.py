"""server-alive must see a death, a dead canary, and a health endpoint that lies."""

from __future__ import annotations

import pytest

from history.verdict import Verdict
from oracles.alive import judge
from tests.unit.histories import clean_run


@pytest.mark.parametrize(("code", "told"), [(-9, "signal 9"), (1, "exit code 1")])
def test_an_unexpected_exit_fails(code: int, told: str) -> None:
    run = clean_run()
    run.event("server_exit", code=code)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert told in result.summary


def test_a_death_counts_even_when_no_canary_was_sent_after_it() -> None:
    run = clean_run()
    run.drop_events("canary")
    run.event("server_exit", code=-6)
    assert judge(run.history()).verdict is Verdict.FAIL


def test_a_frozen_server_whose_health_is_green_is_called_false_healthy() -> None:
    run = clean_run()
    run.change_event("canary", ok=False, error="DeadlineExceeded")
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert "false healthy" in result.summary
    assert result.witnesses[0].request == run.requests[-1].id


def test_a_dead_canary_with_red_health_is_no_false_health() -> None:
    run = clean_run()
    run.change_event("canary", ok=False, error="ConnectError")
    run.change_event("health", ok=False)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert "false healthy" not in result.summary


def test_no_final_canary_is_unknown() -> None:
    run = clean_run()
    run.change_event("canary", where="after chaos")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_stopping_the_server_on_purpose_is_no_death() -> None:
    run = clean_run()
    run.change_event("server_stop", code=-9)
    assert judge(run.history()).verdict is Verdict.PASS
