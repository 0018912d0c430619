"""A death that a fault caused is no violation, by evidence only; all oracles go on with the next life."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from msgspec.structs import replace

from history.records import RequestRecord, Usage
from history.verdict import OracleResult, Verdict
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    counters,
    drained,
    faults_fired,
    logs,
    offload,
    outcomes,
    progress,
    resources,
    transfer_invariants,
)
from oracles.views.incarnations import deaths, incarnations
from tests.support.histories import Run, clean_run
from tests.support.killed_runs import FATAL_LINE, killed_run
from tests.support.oracle_results import finding_of, gap_of, phases_of
from tests.support.synthetic_records import GENERATED, LOAD_BYTES, MS, SECOND, fault, make_plan

KINDS = ("kill", "stop", "engine_kill")
ALL = (
    *(accounting, alive, answers, blast, counters, drained, faults_fired),
    *(transfer_invariants, logs, offload, outcomes, progress, resources),
)


@pytest.mark.parametrize("oracle", ALL, ids=lambda oracle: oracle.NAME)
@pytest.mark.parametrize("kind", KINDS)
def test_restart_after_a_fatal_fault_passes_every_oracle(kind: str, oracle: ModuleType) -> None:
    result: OracleResult = oracle.judge(killed_run(kind).history())
    assert (result.verdict, result.summary) == (Verdict.PASS, result.summary)


def test_incarnations_carry_the_cause_of_their_end() -> None:
    one, two = incarnations(killed_run().history())
    assert one.cause is not None
    assert (one.cause.fault, one.exit is not None, two.cause, two.exit) == ("f1", True, None, None)


def change_strike(run: Run, **evidence: object) -> None:
    """Change what the journal says of the strike that ended the server."""
    index = next(index for index, line in enumerate(run.faults) if line.event == "fired")
    line = run.faults[index]
    run.faults[index] = replace(line, evidence={**line.evidence, **evidence})


def another_code(run: Run) -> None:
    run.change_event("server_exit", code=-11)


def another_process(run: Run) -> None:
    change_strike(run, pid=77)


def struck_too_late(run: Run) -> None:
    exit_ns = next(event.t_ns for event in run.events if event.kind == "server_exit")
    change_strike(run, begun_ns=exit_ns + MS)


def never_fired(run: Run) -> None:
    run.faults = [line for line in run.faults if line.event != "fired"]


def from_inside(run: Run) -> None:
    run.faults = [replace(line, role="worker") for line in run.faults]


@pytest.mark.parametrize("slip", [another_code, another_process, struck_too_late, never_fired, from_inside])
def test_a_death_that_the_fault_cannot_have_caused_is_a_violation(slip: Callable[[Run], None]) -> None:
    run = killed_run()
    slip(run)
    assert len(deaths(run.history())) == 1
    assert alive.judge(run.history()).verdict is Verdict.FAIL


def test_crash_on_sigterm_is_a_violation() -> None:
    run = killed_run("stop")
    run.change_event("server_exit", code=1)
    assert alive.judge(run.history()).verdict is Verdict.FAIL


def test_a_second_death_is_a_violation() -> None:
    run = killed_run()
    moment = run.events[-1].t_ns - MS
    exit_event = next(event for event in run.events if event.kind == "server_exit")
    run.events.insert(-1, replace(exit_event, t_ns=moment, data={"code": 1, "pid": run.leader}))
    assert alive.judge(run.history()).verdict is Verdict.FAIL


def test_server_that_ignores_sigterm_is_a_violation() -> None:
    run = killed_run("stop")
    run.change_event("server_exit", code=-9)
    change_strike(run, forced=True, seconds=30.1)
    assert deaths(run.history()) == []
    finding = finding_of(alive.judge(run.history()), "server-alive/stop-ignored")
    assert finding.figures == {"seconds": 30.1}


def test_a_server_that_never_serves_again_is_a_violation() -> None:
    run = killed_run()
    run.event("server_not_ready", seconds=240.0, alive=True)
    finding = finding_of(alive.judge(run.history()), "server-alive/restart-not-ready")
    assert finding.figures == {"seconds": 240.0}


def probe_without_engine(run: Run, *, status: int) -> None:
    index = next(index for index, event in enumerate(run.events) if event.kind == "server_exit")
    like, where = run.events[index], "without its engine (f1)"
    probe = replace(
        like,
        kind="probe",
        data={"where": where, "ok": False, "request": "c", "seconds": 0.1, "error": "500"},
    )
    health = replace(like, kind="health", data={"where": where, "ok": status == 200, "status": status})
    run.events[index:index] = [probe, health]


def test_unhealthy_status_without_engine_passes() -> None:
    run = killed_run("engine_kill")
    probe_without_engine(run, status=503)
    assert alive.judge(run.history()).verdict is Verdict.PASS


def test_healthy_status_without_engine_is_a_violation() -> None:
    run = killed_run("engine_kill")
    probe_without_engine(run, status=200)
    assert alive.judge(run.history()).by_rule == {"server-alive/health-false-positive": 1}


# --- requests ------------------------------------------------------------------------------------------


def shortened(record: RequestRecord) -> dict[str, object]:
    """Changes that leave the first token of an answer."""
    return {
        "token_ids": list(record.token_ids[:1]),
        "logprobs": list(record.logprobs[:1]),
        "chunk_us": list(record.chunk_us[:1]),
        "chunk_tokens": [1],
        "usage": Usage(prompt_tokens=record.prompt_tokens, completion_tokens=1),
    }


def victim(run: Run) -> int:
    return next(index for index, record in enumerate(run.requests) if record.outcome == "error")


def test_a_request_that_fails_after_the_server_serves_again_is_a_violation() -> None:
    run = killed_run()
    failed = run.requests[victim(run)]
    run.change_request(len(run.requests) - 2, outcome="error", error=failed.error, status=None)
    result = outcomes.judge(run.history())
    assert (result.verdict, result.violations) == (Verdict.FAIL, 1)


def test_a_request_that_failed_before_the_strike_is_a_violation() -> None:
    run = killed_run()
    failed = run.requests[victim(run)]
    run.change_request(2, outcome="error", error=failed.error, status=None)
    assert outcomes.judge(run.history()).violations == 1


@pytest.mark.parametrize("status", [None, 200, 500, 503])
def test_request_error_of_an_ending_server_passes(status: int | None) -> None:
    run = killed_run()
    run.change_request(victim(run), status=status)
    assert outcomes.judge(run.history()).verdict is Verdict.PASS


def test_answer_marked_aborted_by_an_ending_server_passes() -> None:
    run = killed_run("stop")
    whole, start_ns = run.requests[victim(run) - 1], run.requests[victim(run)].start_ns
    broken = replace(whole, id="b", start_ns=start_ns, finish_reason="abort", **shortened(whole))
    run.requests[victim(run)] = broken
    assert outcomes.judge(run.history()).verdict is Verdict.PASS
    assert answers.judge(run.history()).verdict is Verdict.PASS


def test_answer_marked_aborted_by_a_live_server_is_a_violation() -> None:
    run = killed_run("stop")
    last = run.requests[-3]
    run.change_request(len(run.requests) - 3, finish_reason="abort", **shortened(last))
    assert outcomes.judge(run.history()).verdict is Verdict.FAIL


def test_client_error_status_of_an_ending_server_is_a_violation() -> None:
    run = killed_run()
    run.change_request(victim(run), status=400)
    assert outcomes.judge(run.history()).verdict is Verdict.FAIL


def test_hanging_request_is_not_explained_by_the_server_exit() -> None:
    run = killed_run()
    failed = run.requests[victim(run)]
    assert failed.error is not None
    run.change_request(victim(run), error=replace(failed.error, kind="DeadlineExceeded"))
    assert outcomes.judge(run.history()).verdict is Verdict.FAIL


def test_partial_answer_of_an_ending_server_is_a_violation() -> None:
    run = killed_run()
    whole = run.requests[victim(run) - 1]
    run.requests[victim(run)] = replace(whole, id="odd", token_ids=whole.token_ids[:2])
    assert outcomes.judge(run.history()).verdict is Verdict.FAIL


# --- counters and ledgers ------------------------------------------------------------------------------


def test_counter_reset_without_a_restart_is_a_violation() -> None:
    run = killed_run()
    run.scrapes[-1].incarnation = 1_800_000_999.0
    finding_of(counters.judge(run.history()), "counters/unexplained-restart")


def test_counter_decrease_within_the_second_incarnation_is_a_violation() -> None:
    run = killed_run()
    run.bump(GENERATED, -1.0, since=len(run.scrapes) - 1)
    assert counters.judge(run.history()).verdict is Verdict.FAIL


def test_transfer_audit_of_the_second_incarnation_is_judged_exactly() -> None:
    run = killed_run()
    run.bump(GENERATED, 1.0, since=len(run.scrapes) - 1)
    assert None in phases_of(accounting.judge(run.history()))


def test_failed_requests_before_the_restart_explain_no_later_counts() -> None:
    """The server may count a request late, but not one that another process of it had."""
    run = killed_run()
    run.bump(GENERATED, 1.0, since=run.scrape_in("healed") + 2)
    assert "healed" in phases_of(accounting.judge(run.history()))


def test_the_phases_before_the_strike_are_judged_too() -> None:
    run = killed_run()
    golden = range(run.scrape_in("golden") + 1, run.scrape_in("chaos") + 4)
    for scrape in golden:
        run.scrapes[scrape].values[GENERATED] += 1.0
    assert "golden" in phases_of(accounting.judge(run.history()))


def test_phase_interrupted_by_the_exit_is_reported_and_not_judged() -> None:
    assert accounting.judge(killed_run().history()).figures["cut"] == 1


def test_loads_of_both_incarnations_count_as_tier_use() -> None:
    run = killed_run()
    after = [scrape for scrape in run.scrapes if scrape.incarnation == run.incarnation]
    for scrape in after:
        scrape.values[LOAD_BYTES] = 0.0
    assert offload.judge(run.history()).verdict is Verdict.PASS


def test_open_transfer_fails_at_the_run_end_but_not_at_a_killed_server() -> None:
    run = killed_run()
    exit_ns = next(event.t_ns for event in run.events if event.kind == "server_exit")
    run.audit_line("scheduler", "balance", stores_open=1, stores_since_ns=exit_ns - SECOND)
    run.ledger.insert(0, replace(run.ledger.pop(), t_ns=exit_ns - MS, pid=98))
    assert transfer_invariants.judge(run.history()).verdict is Verdict.PASS
    run.audit_line("scheduler", "balance", stores_open=1, stores_since_ns=exit_ns + 40 * SECOND)
    assert transfer_invariants.judge(run.history()).verdict is Verdict.FAIL


def test_second_incarnation_without_transfer_audit_is_unknown() -> None:
    run = killed_run()
    exit_ns = next(event.t_ns for event in run.events if event.kind == "server_exit")
    run.ledger = [replace(record, t_ns=exit_ns - MS) for record in run.ledger]
    assert transfer_invariants.judge(run.history()).verdict is Verdict.UNKNOWN


# --- what is held, logged, and owed afterwards -------------------------------------------------------------


def test_resource_baseline_is_not_the_fresh_restarted_server() -> None:
    run = killed_run()
    healed_ns = next(event.t_ns for event in reversed(run.events) if event.kind == "phase_start")
    run.resources = [
        replace(record, files=20) if record.leader == run.leader and record.t_ns < healed_ns else record
        for record in run.resources
    ]
    assert resources.judge(run.history()).verdict is Verdict.PASS


def test_leak_in_the_second_incarnation_is_a_violation() -> None:
    run = killed_run()
    run.resources[-1] = replace(run.resources[-1], files=500)
    assert resources.judge(run.history()).verdict is Verdict.FAIL


def test_fatal_log_lines_of_a_killed_server_are_allowed_and_reported() -> None:
    assert logs.judge(killed_run("engine_kill").history()).figures["allowed"] == 1


@pytest.mark.parametrize("index", [0, 2, 4, 5])
def test_fatal_log_lines_outside_the_kill_are_a_violation(index: int) -> None:
    run = killed_run("engine_kill")
    run.log[index] = FATAL_LINE
    assert logs.judge(run.history()).verdict is Verdict.FAIL


def test_stall_in_the_second_incarnation_is_a_violation() -> None:
    run = killed_run()
    run.event("stall", seconds=15.2, running=4, waiting=0, detail="no token")
    assert progress.judge(run.history()).verdict is Verdict.FAIL


def test_a_server_that_answers_too_late_after_its_revival_is_a_violation() -> None:
    run = killed_run()
    healed_ns = next(event.t_ns for event in run.events if event.kind == "healed")
    for index, record in enumerate(run.requests):
        if record.start_ns > healed_ns:
            run.change_request(index, start_ns=record.start_ns + 100 * SECOND)
    assert progress.judge(run.history()).verdict is Verdict.FAIL


# --- the sign ------------------------------------------------------------------------------------------


def test_kill_followed_by_answers_of_the_same_process_is_not_effective() -> None:
    run = killed_run()
    for scrape in run.scrapes:
        scrape.incarnation = run.incarnation
    gap_of(faults_fired.judge(run.history()), "faults-fired/same-process")


def test_kill_without_failed_requests_is_not_effective() -> None:
    run = killed_run()
    run.change_request(victim(run), outcome="ok", error=None, end_us=3_000_000)
    gap_of(faults_fired.judge(run.history()), "faults-fired/answered-all-the-same")


def test_engine_kill_without_failed_requests_is_not_effective() -> None:
    run = killed_run("engine_kill")
    run.change_request(victim(run), outcome="ok", error=None)
    gap_of(faults_fired.judge(run.history()), "faults-fired/no-request-failed")


def test_run_without_a_fatal_fault_has_one_incarnation() -> None:
    (only,) = incarnations(clean_run(make_plan(faults=(fault("lookup_miss"),))).history())
    assert (only.number, only.exit) == (0, None)


def test_restarted_incarnation_of_a_reused_server_counts_from_zero() -> None:
    """The first scrape is of an earlier life there, and nothing can be compared with it."""
    run = killed_run()
    run.plan = run.plan.model_copy(update={"preceded_by": ("earlier",)})
    result = accounting.judge(run.history())
    assert result.verdict is Verdict.PASS, result.summary
