"""What no server can serve has to be refused as the client's fault, and the server says so by its status."""

from __future__ import annotations

import pytest

from history.verdict import Verdict
from oracles import outcomes
from tests.unit.histories import clean_run
from tests.unit.struck_phase import Struck, answered
from tests.unit.synthetic import fault, make_plan


def doubt(forms: list[int | str], statuses: list[int | str]) -> str | None:
    phase = Struck("malformed_request", [answered("chaos-1", 500, 900)])
    bodies: list[int | str] = ["told" for _ in forms]
    phase.strike(2000, forms=forms, statuses=statuses, bodies=bodies)
    phase.undo(2100)
    return phase.doubt()


def word(forms: list[int | str], statuses: list[int | str]) -> tuple[Verdict, str]:
    run = clean_run(make_plan(faults=(fault("malformed_request"),)))
    bodies: list[int | str] = ["told" for _ in forms]
    run.fire("f1", "malformed_request", forms=forms, statuses=statuses, bodies=bodies)
    judged = outcomes.judge(run.history())
    return judged.verdict, judged.summary


def test_refusals_are_counted() -> None:
    verdict, summary = word(["null", "no_json"], [400, 404])
    assert verdict is Verdict.PASS
    assert summary.endswith("; 2 wrong requests were refused")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "malformed_request null: answered with status 500: told"),
        (0, "malformed_request null: no answer"),
    ],
)
def test_anything_but_a_refusal_is_a_violation(status: int, said: str) -> None:
    assert word(["null"], [status]) == (Verdict.FAIL, said)


def test_a_wrong_request_that_is_served_is_a_violation() -> None:
    assert word(["null"], [200])[0] is Verdict.FAIL


def test_a_client_that_leaves_gets_no_answer() -> None:
    assert word(["cut_short", "null"], [0, 400])[0] is Verdict.PASS


def test_wrong_requests_show_by_a_refusal() -> None:
    assert doubt(["null", "list"], [500, 400]) is None
    assert "refused none" in str(doubt(["null"], [500]))
    assert "refused none" in str(doubt(["cut_short"], [0]))
