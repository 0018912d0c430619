"""The signature of a run: which cause is chosen, which run shows it, and which says nothing of the server."""

from __future__ import annotations

import pytest

from history.verdict import SERVER, Cause, Finding, Gap, OracleResult, RunVerdict, Verdict, metric
from kvchaos.triage.failure_signature import (
    FailureSignature,
    chosen_signature,
    infrastructure_failure,
    observe,
    shows,
)

DIED = "server-alive/died: ValueError in vllm.v1.metrics.loggers.record"


def cause(signature: str, *, unexplained: bool = False, explained_by: tuple[str, ...] = ()) -> Cause:
    return Cause(
        rule=signature.partition(":")[0],
        signature=signature,
        violations=1,
        unexplained=unexplained,
        explained_by=list(explained_by),
    )


def verdict(
    *causes: Cause, findings: tuple[Finding, ...] = (), cut: Gap | None = None, gaps: tuple[Gap, ...] = ()
) -> RunVerdict:
    result = OracleResult(
        oracle="any", verdict=Verdict.FAIL, summary="", findings=list(findings), gaps=list(gaps)
    )
    return RunVerdict(
        run_id="failing-1",
        scenario="failing",
        server="0.18.0",
        seed=1,
        outcome="not as expected",
        reasons=[],
        expected_failures=[],
        issue=None,
        results=[result],
        cut=cut,
        causes=list(causes),
    )


def gap(kind: str) -> Gap:
    return Gap(kind=kind, subject=SERVER, text="it could not be judged")


def test_first_unexplained_cause_is_chosen() -> None:
    found = chosen_signature(
        verdict(cause("answers/differs: request", explained_by=("flip",)), cause(DIED, unexplained=True)),
        None,
    )
    assert found == FailureSignature(rule="server-alive/died", signature=DIED)


def test_first_cause_is_chosen_where_all_are_explained() -> None:
    found = chosen_signature(
        verdict(cause("answers/differs: request", explained_by=("flip",)), cause(DIED)), None
    )
    assert found == FailureSignature(
        rule="answers/differs", signature="answers/differs: request", declared=True
    )


@pytest.mark.parametrize("wanted", [DIED, "server-alive/died"])
def test_cause_is_chosen_by_signature_or_rule(wanted: str) -> None:
    found = chosen_signature(
        verdict(cause("logs/exception: log line", unexplained=True), cause(DIED)), wanted
    )
    assert found is not None
    assert found.signature == DIED


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("answers/differs: request", "answers/differs: request"),
        ("answers/not-golden: request", "answers/not-golden: request after load_failure"),
    ],
)
def test_cause_is_chosen_without_the_kinds_of_faults_where_none_has_the_exact_text(
    wanted: str, chosen: str
) -> None:
    found = chosen_signature(
        verdict(
            cause("answers/not-golden: request after load_failure"),
            cause("answers/differs: request after load_failure"),
            cause("answers/differs: request"),
        ),
        wanted,
    )
    assert found is not None
    assert found.signature == chosen


def test_run_without_the_cause_has_no_signature() -> None:
    assert chosen_signature(verdict(cause(DIED)), "logs/exception") is None
    assert chosen_signature(verdict(), None) is None


WANTED = FailureSignature(rule="server-alive/died", signature=DIED)


def test_run_with_other_causes_beside_shows_the_failure() -> None:
    assert shows(verdict(cause("logs/exception: log line"), cause(DIED)), WANTED)


def test_other_exception_of_the_same_rule_is_another_failure() -> None:
    other = cause("server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule")
    assert not shows(verdict(other), WANTED)


def test_declared_finding_is_no_failure_that_no_fault_declares() -> None:
    differs = "answers/differs: request"
    declared = verdict(cause(differs, explained_by=("flip",)))
    wanted = FailureSignature(rule="answers/differs", signature=differs)
    assert not shows(declared, wanted)
    assert shows(declared, FailureSignature(rule="answers/differs", signature=differs, declared=True))


def test_kinds_of_faults_that_struck_wrong_answers_do_not_matter_for_a_repeat() -> None:
    wanted = FailureSignature(
        rule="answers/differs", signature="answers/differs: request after completion_lost, load_failure"
    )
    assert shows(verdict(cause("answers/differs: request after load_failure")), wanted)
    assert shows(verdict(cause("answers/differs: request")), wanted)
    assert not shows(verdict(cause("answers/foreign: request after load_failure")), wanted)


def finding(follows: str | None = None, explained_by: str | None = None) -> Finding:
    return Finding(
        rule="counters/decreased",
        subject=metric("vllm:prompt_tokens_total"),
        text="",
        follows=follows,
        explained_by=explained_by,
    )


def test_finding_that_known_bugs_have_put_into_another_cause_shows_the_failure() -> None:
    wanted = FailureSignature(
        rule="counters/decreased", signature="counters/decreased: vllm:prompt_tokens_total"
    )
    other = cause("counters/decreased: vllm:generation_tokens_total")
    assert shows(verdict(other, findings=(finding(),)), wanted)
    assert not shows(verdict(other, findings=(finding(follows="server-alive/died"),)), wanted)
    assert not shows(verdict(other, findings=(finding(explained_by="flip"),)), wanted)


@pytest.mark.parametrize(
    ("kind", "category"),
    [("client/event-loop-lag", "client"), ("run/failed", "environment"), ("run/seal-broken", "environment")],
)
def test_run_that_was_cut_short_is_a_failure_of_the_infrastructure(kind: str, category: str) -> None:
    cut = verdict(cause(DIED), cut=gap(kind))
    failure = infrastructure_failure(cut)
    assert failure is not None
    assert failure.category == observe(cut, WANTED) == category


def test_server_that_never_served_is_a_failed_start() -> None:
    never = verdict(cut=gap("run/failed"), gaps=(gap("server-alive/no-server-ready"),))
    assert observe(never, WANTED) == "server start"


def test_run_to_its_end_shows_the_failure_or_not() -> None:
    assert observe(verdict(cause(DIED)), WANTED) == "shows"
    assert observe(verdict(gaps=(gap("offload/no-bytes"),)), WANTED) == "absent"
