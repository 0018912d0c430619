"""server-alive must see a death, a dead probe, and a health endpoint that lies."""

from __future__ import annotations

import msgspec
import pytest

from history.records import Scalar
from history.verdict import Verdict, request
from oracles.alive import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of


@pytest.mark.parametrize("code", [-9, 1])
def test_an_unexpected_exit_fails(code: int) -> None:
    run = clean_run()
    run.event("server_exit", code=code)
    assert finding_of(judge(run.history()), "server-alive/died").figures == {"code": code}


def test_a_death_counts_even_when_no_probe_was_sent_after_it() -> None:
    run = clean_run()
    run.drop_events("probe")
    run.event("server_exit", code=-6)
    assert judge(run.history()).verdict is Verdict.FAIL


def at(run: Run, kind: str, moment: str, /, **changes: Scalar) -> None:
    """Change the probe, or what /health said, at one place of the run."""
    run.events = [
        msgspec.structs.replace(event, data={**event.data, **changes})
        if event.kind == kind and event.data["where"] == moment
        else event
        for event in run.events
    ]


def test_healthy_status_with_a_failed_probe_is_false_healthy() -> None:
    run = clean_run()
    at(run, "probe", "final", ok=False, error="DeadlineExceeded")
    result = judge(run.history())
    assert result.by_rule == {"server-alive/health-false-positive": 1}
    assert result.findings[0].request == run.requests[-1].id


def test_temporary_freeze_with_healthy_status_is_false_healthy() -> None:
    run = clean_run()
    for kind in ("probe", "health"):
        at(run, kind, "ready", where="after chaos")
    at(run, "probe", "after chaos", ok=False, error="DeadlineExceeded")
    sent = next(event for event in run.events if event.data.get("where") == "after chaos")
    result = judge(run.history())
    assert result.by_rule == {"server-alive/health-false-positive": 1}
    assert result.findings[0].request == sent.data["request"]


@pytest.mark.parametrize("status", [503, None])
def test_failed_probe_with_unhealthy_status_is_no_false_health(status: int | None) -> None:
    run = clean_run()
    at(run, "probe", "final", ok=False, error="ConnectError")
    at(run, "health", "final", ok=False, status=status)
    assert judge(run.history()).by_rule == {"server-alive/probe-failed": 1}


def test_unhealthy_status_with_a_successful_probe_is_false_unhealthy() -> None:
    run = clean_run()
    at(run, "health", "final", ok=False, status=503)
    result = judge(run.history())
    assert result.by_rule == {"server-alive/health-false-negative": 1}
    assert result.findings[0].figures == {"status": 503}


def test_a_health_that_gave_no_answer_is_unknown() -> None:
    run = clean_run()
    at(run, "health", "final", ok=False, status=None)
    gap = gap_of(judge(run.history()), "server-alive/health-no-answer")
    assert gap.subject == request(run.requests[-1].id)


def test_missing_health_check_is_unknown() -> None:
    run = clean_run()
    run.drop_events("health")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_live_server_passes_with_the_number_of_health_checks() -> None:
    result = judge(clean_run().history())
    assert (result.verdict, result.checked) == (Verdict.PASS, 2)
    assert result.figures == {"probes": 2, "lives_ended": 0}


def test_no_final_probe_is_unknown() -> None:
    run = clean_run()
    run.change_event("probe", where="after chaos")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_stopping_the_server_on_purpose_is_no_death() -> None:
    run = clean_run()
    run.change_event("server_stop", code=-9)
    assert judge(run.history()).by_rule == {}


@pytest.mark.parametrize("code", [-11, 1, 139])
def test_a_server_that_crashes_in_its_shutdown_fails(code: int) -> None:
    run = clean_run()
    run.change_event("server_stop", code=code)
    assert finding_of(judge(run.history()), "server-alive/bad-exit").figures == {"code": code}


@pytest.mark.parametrize("code", [0, -15, 143, None])
def test_a_server_that_ends_by_the_signal_of_the_suite_passes(code: int | None) -> None:
    run = clean_run()
    run.change_event("server_stop", code=code)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize("code", [-9, 137])
def test_a_server_that_had_to_be_killed_when_the_run_was_over_passes(code: int) -> None:
    """On a busy machine a shutdown may take longer than the suite waits: that alone is no violation."""
    run = clean_run()
    run.change_event("server_stop", code=code)
    assert judge(run.history()).verdict is Verdict.PASS
