"""What no server can serve has to be refused as the client's fault, and the server says so by its status."""

from __future__ import annotations

import pytest

from history.verdict import Figures, OracleResult, Verdict
from oracles import outcomes
from tests.support.histories import clean_run
from tests.support.oracle_results import finding_of
from tests.support.outside_fault_phase import Struck, answered
from tests.support.synthetic_records import fault, make_plan


def doubt(
    forms: list[int | str], statuses: list[int | str], unsent: list[int | str] | None = None
) -> str | None:
    phase = Struck("malformed_request", [answered("chaos-1", 500, 900)])
    bodies: list[int | str] = ["told" for _ in forms]
    phase.strike(2000, forms=forms, statuses=statuses, bodies=bodies, unsent=unsent or [])
    phase.undo(2100)
    return phase.doubt()


def judged(forms: list[int | str], statuses: list[int | str]) -> OracleResult:
    run = clean_run(make_plan(faults=(fault("malformed_request"),)))
    bodies: list[int | str] = ["told" for _ in forms]
    run.fire("f1", "malformed_request", forms=forms, statuses=statuses, bodies=bodies)
    return outcomes.judge(run.history())


def test_refusals_are_counted() -> None:
    result = judged(["null", "no_json"], [400, 404])
    assert (result.verdict, result.figures["refused"]) == (Verdict.PASS, 2)


@pytest.mark.parametrize(("status", "figures"), [(500, {"status": 500}), (0, {})])
def test_malformed_request_without_a_refusal_is_a_violation(status: int, figures: Figures) -> None:
    finding = finding_of(judged(["null"], [status]), "outcomes/malformed-not-refused")
    assert (finding.subject.kind, finding.figures) == ("fault", figures)


def test_malformed_request_answered_with_tokens_is_a_violation() -> None:
    assert judged(["null"], [200]).verdict is Verdict.FAIL


def test_disconnecting_malformed_client_needs_no_answer() -> None:
    assert judged(["cut_short", "null"], [0, 400]).verdict is Verdict.PASS


def test_malformed_requests_are_effective_by_a_refusal() -> None:
    assert doubt(["null", "list"], [500, 400]) is None
    assert doubt(["null"], [500]) == "none-refused"
    assert doubt(["cut_short"], [0]) == "none-refused"


def test_malformed_requests_cut_short_by_the_end_of_the_phase_prove_nothing() -> None:
    assert doubt(["no_json", "null"], [400, 400], unsent=["list"]) == "not-all-sent"
