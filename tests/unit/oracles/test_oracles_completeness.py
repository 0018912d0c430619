"""transfer-invariants must not believe ledgers that are cut, stale, or count more than they list."""

from __future__ import annotations

import pytest

from history.scenario import ServerSettings
from history.verdict import Verdict
from oracles.transfer_invariants import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import LOAD_BYTES, SECOND, make_plan

AUDITED = ServerSettings(gpu_blocks=40, audit=True)


def booked_run(**worker: int) -> Run:
    run = clean_run(make_plan(server=AUDITED))
    run.audit_line("worker", "balance", None, **worker)
    return run


def test_a_violation_that_is_counted_and_not_listed_fails() -> None:
    run = booked_run(violations=3)
    assert finding_of(judge(run.history()), "transfer-invariants/violation-not-listed").figures == {
        "counted": 3
    }


def test_listed_violation_is_reported_once() -> None:
    run = booked_run(violations=3)
    run.audit_line("worker", "violation", "copy-begun-twice", job=1)
    assert judge(run.history()).by_rule == {"transfer-invariants/copy-begun-twice": 1}


@pytest.mark.parametrize(("audited", "verdict"), [(4, Verdict.PASS), (3, Verdict.UNKNOWN)])
def test_an_audit_that_compared_less_than_a_block_of_each_copy_is_unknown(
    audited: int, verdict: Verdict
) -> None:
    result = judge(booked_run(audited=audited).history())
    assert result.verdict is verdict
    if verdict is Verdict.UNKNOWN:
        gap = gap_of(result, "transfer-invariants/few-audited")
        assert gap.figures == {"audited": 3, "copies": 4}


def test_loads_after_the_last_balance_are_unknown() -> None:
    """A ledger that was cut off says nothing of what came later."""
    run = booked_run()
    for loaded in (4096.0, 4096.0):
        run.pass_time(10 * SECOND)
        run.server[LOAD_BYTES] += loaded
        run.scrape()
    gap_of(judge(run.history()), "transfer-invariants/balance-too-old")


def test_load_before_the_last_balance_is_no_gap() -> None:
    run = booked_run()
    run.pass_time(10 * SECOND)
    run.server[LOAD_BYTES] += 4096.0
    run.scrape()
    assert judge(run.history()).verdict is Verdict.PASS
