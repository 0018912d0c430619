"""server-alive must see a death, a dead canary, and a health endpoint that lies."""

from __future__ import annotations

import msgspec
import pytest

from history.records import Scalar
from history.verdict import Verdict
from oracles.alive import judge
from tests.unit.histories import Run, clean_run


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


def at(run: Run, kind: str, place: str, /, **changes: Scalar) -> None:
    """Change the canary, or what /health said, at one place of the run."""
    run.events = [
        msgspec.structs.replace(event, data={**event.data, **changes})
        if event.kind == kind and event.data["where"] == place
        else event
        for event in run.events
    ]


def test_a_frozen_server_whose_health_is_green_is_called_false_healthy() -> None:
    run = clean_run()
    at(run, "canary", "final", ok=False, error="DeadlineExceeded")
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.summary == (
        "false healthy: /health said that all is well, yet "
        "the final canary was not answered: DeadlineExceeded"
    )
    assert result.findings[0].request == run.requests[-1].id


def test_a_server_that_freezes_for_a_while_is_false_healthy_too() -> None:
    run = clean_run()
    for kind in ("canary", "health"):
        at(run, kind, "ready", where="after chaos")
    at(run, "canary", "after chaos", ok=False, error="DeadlineExceeded")
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.summary.startswith("false healthy: ")
    assert "the canary after chaos was not answered" in result.summary


@pytest.mark.parametrize("status", [503, None])
def test_a_dead_canary_with_red_health_is_no_false_health(status: int | None) -> None:
    run = clean_run()
    at(run, "canary", "final", ok=False, error="ConnectError")
    at(run, "health", "final", ok=False, status=status)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.summary == "the final canary was not answered: ConnectError"


def test_red_health_beside_a_canary_that_was_answered_is_false_sick() -> None:
    run = clean_run()
    at(run, "health", "final", ok=False, status=503)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.summary == "false sick: /health answered 503, yet the final canary was answered"


def test_a_health_that_gave_no_answer_is_unknown() -> None:
    run = clean_run()
    at(run, "health", "final", ok=False, status=None)
    result = judge(run.history())
    assert (result.verdict, result.summary) == (
        Verdict.UNKNOWN,
        "/health gave no answer after the final canary",
    )


def test_a_health_that_nobody_asked_for_is_unknown() -> None:
    run = clean_run()
    run.drop_events("health")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_a_server_that_lives_passes_and_tells_how_often_it_was_asked() -> None:
    result = judge(clean_run().history())
    assert (result.verdict, result.checked) == (Verdict.PASS, 2)
    assert result.summary == "alive to the end; 2 canaries were answered, and /health agreed"


def test_no_final_canary_is_unknown() -> None:
    run = clean_run()
    run.change_event("canary", where="after chaos")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_stopping_the_server_on_purpose_is_no_death() -> None:
    run = clean_run()
    run.change_event("server_stop", code=-9)
    assert judge(run.history()).verdict is Verdict.PASS
