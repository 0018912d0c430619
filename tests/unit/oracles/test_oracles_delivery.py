"""A run proves nothing of strikes that its plan names and that never came."""

from __future__ import annotations

import msgspec
import pytest

from history.scenario import FaultSpec, Trigger
from history.verdict import Verdict
from oracles.faults_fired import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import gap_of
from tests.support.synthetic_records import make_plan

REFUSED = "faults-fired/strikes-refused"
MISSING = "faults-fired/strikes-missing"
LOST = "faults-fired/firings-lost"


def struck_run(trigger: Trigger) -> Run:
    """A load failure at arrival 0, from which the server recovered."""
    run = clean_run(make_plan(faults=(FaultSpec(id="f1", kind="load_failure", trigger=trigger),)))
    run.log.append("WARNING Recovered from KV load failure: 1 request(s) rescheduled (64 tokens affected).")
    run.change_event("server_stop", log_line=len(run.log))
    run.fire("f1", "load_failure")
    return run


def refuse(run: Run, n: int, reason: str) -> None:
    run.faults.append(
        msgspec.structs.replace(run.faults[-1], event="refused", n=n, evidence={"reason": reason})
    )


def heal(run: Run, arrivals: int, fired: int) -> None:
    evidence = {"reason": "conductor", "fired": fired}
    run.faults.append(msgspec.structs.replace(run.faults[-1], event="healed", n=arrivals, evidence=evidence))


def test_all_named_strikes_applied_pass() -> None:
    run = struck_run(Trigger(nth=(0,)))
    heal(run, arrivals=9, fired=1)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_named_strike_that_was_refused_is_unknown() -> None:
    run = struck_run(Trigger(nth=(0, 4)))
    refuse(run, 4, "still-in-force")
    assert gap_of(judge(run.history()), REFUSED).figures == {"planned": 2, "missing": 1}


def test_named_invocation_that_never_occurred_is_unknown() -> None:
    run = struck_run(Trigger(nth=(0, 40)))
    heal(run, arrivals=9, fired=1)
    assert gap_of(judge(run.history()), MISSING).figures == {"planned": 2, "missing": 1}


def test_a_limit_is_no_missing_strike() -> None:
    assert judge(struck_run(Trigger(nth=(0, 40), limit=1)).history()).verdict is Verdict.PASS


def test_interrupted_phase_requires_no_more_invocations() -> None:
    run = struck_run(Trigger(nth=(0, 40)))
    run.change_event("phase_end", reason="stalled")
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        ("no-idle-block", Verdict.UNKNOWN),
        ("healed-first", Verdict.PASS),
    ],
)
def test_a_rate_whose_strikes_are_refused_more_often_than_not_is_unknown(
    reason: str, verdict: Verdict
) -> None:
    run = struck_run(Trigger(every=1))
    refuse(run, 1, reason)
    assert judge(run.history()).verdict is Verdict.PASS
    refuse(run, 2, reason)
    assert judge(run.history()).verdict is verdict


def test_a_journal_with_fewer_firings_than_its_process_counted_is_unknown() -> None:
    """Lost lines do not accuse the server, but the firings that they recorded are unknown."""
    run = struck_run(Trigger(every=1))
    heal(run, arrivals=9, fired=3)
    assert gap_of(judge(run.history()), LOST).figures == {"counted": 3, "noted": 1}
