"""What a fault of another package raises, in the server or in its effect check, makes the run unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from chaos.fault_catalogue import KINDS, ORIGINS
from chaos.inside.fault_kind import FaultKind
from history.fired_fault import FiredFault
from history.protocol.evidence import Refused, as_stored
from history.verdict import Subject
from kvchaos.judging.judge_run import judge
from kvchaos.report.html.report_page import full_page
from oracles import faults_fired
from tests.support.acme_units import ORIGIN
from tests.support.contract_violating_runs import struck
from tests.support.histories import Run
from tests.support.oracle_results import gap_of

KIND = "bit_flip"


def _raise(case: FiredFault) -> Any:
    raise StopAsyncIteration("acme is closed")


def _answer(case: FiredFault) -> Any:
    return "no doubt"


@pytest.mark.parametrize("check", [_raise, _answer], ids=["raises", "returns-no-doubt"])
def test_foreign_effect_check_that_cannot_judge_makes_the_run_unknown(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[FiredFault], Any]
) -> None:
    kind = KINDS[KIND]
    assert isinstance(kind, FaultKind)
    monkeypatch.setitem(KINDS, KIND, replace(kind, check=check))
    monkeypatch.setitem(ORIGINS, KIND, ORIGIN)
    history = struck(KIND, 1).history()
    gap = gap_of(faults_fired.judge(history), "faults-fired/check-crashed")
    assert gap.subject == Subject("fault", "f1")
    assert ORIGIN in gap.text


def raised(run: Run) -> Run:
    """The journal says that the code of the fault raised at one invocation."""
    detail = f"{KIND} of {ORIGIN} raised OSError: acme is closed"
    refused = as_stored(Refused(reason="fault-raised", detail=detail))
    run.faults.append(msgspec.structs.replace(run.faults[-1], event="refused", n=9, evidence=refused))
    return run


def test_report_shows_the_error_that_a_fault_raised() -> None:
    history = raised(struck(KIND, 1)).history()
    page = full_page(history, judge(history))
    assert page.drawn is not None
    (row,) = page.drawn.faults
    (step,) = [step for step in row.steps if ORIGIN in step.detail]
    assert not step.observed


@pytest.mark.parametrize("different", [False, True])
def test_fault_that_raised_in_the_server_makes_the_run_unknown_whatever_was_found(different: bool) -> None:
    run = struck(KIND, 1)
    if different:
        run.change_request(run.first_of("chaos") + 3, logprobs=[-9.0, -0.25, -1.75, -0.125])
    before, judged = judge(run.history()), judge(raised(run).history())
    assert before.outcome == "not as expected"
    assert judged.outcome == "unknown"
    assert judged.cut is not None
    assert (judged.cut.kind, judged.cut.subject) == ("run/fault-raised", Subject("fault", "f1"))
    assert judged.reasons[0] == judged.cut.text
    assert ORIGIN in judged.cut.text
    assert "\n" not in judged.cut.text
