"""What a failing run had sent until its failure."""

from __future__ import annotations

from msgspec.structs import replace

from history.records import RequestError
from history.verdict import SERVER, Finding, OracleResult, RunVerdict, Verdict, request
from kvchaos.judging.judge_run import judge
from kvchaos.triage.failure_trace import failure_trace
from tests.support.histories import Run, clean_run

MS = 1_000_000
RULE = "server-alive/died"


def verdict_with(run: Run, *findings: Finding) -> RunVerdict:
    result = OracleResult(oracle="server-alive", verdict=Verdict.FAIL, summary="", findings=list(findings))
    return replace(judge(run.history()), results=[result])


def traced(run: Run, *findings: Finding) -> dict[str, int]:
    return dict(failure_trace(run.history(), verdict_with(run, *findings), RULE).sent)


def test_phases_after_the_failure_are_left_out() -> None:
    run = clean_run()
    record = next(each for each in run.requests if each.phase == "chaos")
    died = Finding(rule=RULE, subject=SERVER, text="", t_ns=record.start_ns)
    assert traced(run, died).keys() == {"golden", "chaos"}


def test_first_failed_request_comes_before_the_end_of_the_server() -> None:
    run = clean_run()
    error = RequestError(kind="InternalServerError", status=500, message="")
    first = next(at for at, each in enumerate(run.requests) if each.phase == "chaos")
    run.requests[first] = replace(run.requests[first], outcome="error", error=error)
    died = Finding(rule=RULE, subject=SERVER, text="", t_ns=run.requests[-1].start_ns)
    assert traced(run, died).keys() == {"golden", "chaos"}
    failed = Finding(rule=RULE, subject=request(run.requests[-1].id), text="", t_ns=run.requests[-1].start_ns)
    assert traced(run, failed).keys() == {"golden", "chaos", "healed"}


def test_failure_without_a_time_pins_nothing() -> None:
    assert traced(clean_run(), Finding(rule=RULE, subject=SERVER, text="")) == {}
    assert traced(clean_run(), Finding(rule="logs/exception", subject=SERVER, text="", t_ns=1)) == {}
