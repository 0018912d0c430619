"""drained must see what is still held after the last request."""

from __future__ import annotations

import pytest

from history.verdict import Verdict
from oracles.drained import judge
from tests.support.histories import clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import RUNNING, USAGE, WAITING


def test_failed_drain_fails_with_remaining_requests() -> None:
    run = clean_run()
    run.change_event("drained", ok=False, running=2)
    assert finding_of(judge(run.history()), "drained/not-drained").figures["running"] == 2


def test_leaked_blocks_fail() -> None:
    run = clean_run()
    run.change_event("leak_probe", ok=False, answer="false", detail="3 blocks in use")
    probe = next(event for event in run.events if event.kind == "leak_probe")
    assert finding_of(judge(run.history()), "drained/blocks-leaked").t_ns == probe.t_ns


def test_a_probe_without_an_answer_is_unknown_with_the_reason() -> None:
    run = clean_run()
    run.change_event("leak_probe", ok=None, answer="", detail="timeout")
    assert gap_of(judge(run.history()), "drained/probe-unanswered").text == "timeout"


def test_unanswered_leak_probe_does_not_hide_nonzero_gauges() -> None:
    run = clean_run()
    run.change_event("leak_probe", ok=None, answer="", detail="no answer")
    run.bump(USAGE, 0.025, since=len(run.scrapes) - 1)
    assert judge(run.history()).verdict is Verdict.FAIL


@pytest.mark.parametrize("gauge", [RUNNING, WAITING, USAGE])
def test_a_gauge_above_zero_at_the_end_fails(gauge: str) -> None:
    run = clean_run()
    run.bump(gauge, 0.025, since=len(run.scrapes) - 1)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].metric == gauge


@pytest.mark.parametrize("kind", ["drained", "leak_probe"])
def test_a_missing_step_is_unknown(kind: str) -> None:
    run = clean_run()
    run.drop_events(kind)
    gap_of(judge(run.history()), f"drained/no-{kind.replace('_', '-')}")


@pytest.mark.parametrize("gauge", [RUNNING, WAITING, USAGE])
def test_an_absent_gauge_is_unknown(gauge: str) -> None:
    run = clean_run()
    run.drop_metric(gauge)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_gauges_read_before_the_last_request_ended_are_unknown() -> None:
    run = clean_run()
    run.scrapes.pop()
    assert judge(run.history()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("kind", ["phase_start", "phase_end"])
def test_a_server_that_was_not_idle_between_phases_is_unknown(kind: str) -> None:
    run = clean_run()
    run.change_event(kind, settled=True)
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_event(kind, settled=False)
    gap_of(judge(run.history()), "drained/phase-not-settled")


@pytest.mark.parametrize("ok", [False, None])
def test_a_cache_that_was_not_reset_after_a_fault_is_unknown(ok: bool | None) -> None:
    """What follows may be answered from damaged blocks."""
    run = clean_run()
    run.event("prefix_cache_reset", ok=True, answer="true", detail="")
    assert judge(run.history()).verdict is Verdict.PASS
    run.event("prefix_cache_reset", ok=ok, answer="", detail="no answer")
    gap_of(judge(run.history()), "drained/cache-not-reset")
