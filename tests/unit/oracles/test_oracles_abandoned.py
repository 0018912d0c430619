"""A cut excuses those whose connections it cut, and nobody else."""

from __future__ import annotations

import pytest
from msgspec import structs

from history.records import RequestRecord
from history.verdict import Verdict
from oracles import blast, outcomes
from oracles.views.struck_requests import cut_off, given_up
from tests.support.histories import Run, clean_run
from tests.support.outside_fault_phase import Struck, answered, failed
from tests.support.synthetic_records import MS, fault, make_plan


def cut(*requests: RequestRecord) -> Struck:
    """From 2000 to 2500 ms, with chaos-1 on its way."""
    struck = Struck("network_cut", list(requests))
    struck.strike(2000, connections=1, requests=["chaos-1"])
    struck.undo(2500, connections=1, refused=1, requests=["chaos-1"])
    return struck


@pytest.mark.parametrize(
    "record",
    [
        failed("chaos-1", 500, 2010),
        failed("chaos-1", 500, 2010, "RemoteProtocolError", status=None),
        failed("chaos-9", 2200, 2210, status=None),
        failed("chaos-9", 2450, 2600, "ConnectError", status=None),
    ],
    ids=["on its way", "without an answer", "refused", "refused at the end"],
)
def test_requests_in_a_network_cut_may_fail_with_connection_errors(record: RequestRecord) -> None:
    assert cut_off(cut(record).history()) == {record.id}


@pytest.mark.parametrize(
    "record",
    [
        failed("chaos-1", 500, 2010, "InternalServerError", status=500),
        failed("chaos-1", 500, 2010, "DeadlineExceeded"),
        failed("chaos-9", 500, 2010),
        failed("chaos-9", 2200, 2210),
        failed("chaos-9", 1000, 1100, status=None),
        failed("chaos-9", 3100, 3200, status=None),
        failed("chaos-1", 500, 2010, "Abandoned", outcome="aborted"),
    ],
    ids=["by the server", "by its deadline", "not named", "answered", "before", "behind", "by itself"],
)
def test_failure_outside_the_cut_is_not_excused(record: RequestRecord) -> None:
    assert cut_off(cut(record).history()) == frozenset()


def test_strike_without_cut_connections_explains_no_failure() -> None:
    struck = Struck("network_stall", [failed("chaos-1", 500, 2010)])
    struck.strike(2000, waiting=1, requests=["chaos-1"])
    assert cut_off(struck.history()) == frozenset()


def test_server_request_name_leads_to_the_aborted_request() -> None:
    struck = cut(failed("chaos-1", 500, 2010), answered("chaos-10", 600, 700))
    struck.give_up("chaos-1", state="prefill")
    left = given_up(struck.history())
    assert list(left) == ["chaos-1"]
    assert left["chaos-1"].states == ["prefill"]


def a_run_with_a_cut() -> Run:
    """One request of the chaos phase was cut off."""
    run = clean_run(make_plan(faults=(fault("network_cut"),)))
    index = run.first_of("chaos")
    gone = failed("x", 0, 1)
    run.change_request(index, outcome="error", error=gone.error, finish_reason=None, usage=None)
    record = run.requests[index]
    run.fire_at(
        record.start_ns + 10 * MS, "f1", "network_cut", struck_ns=record.start_ns, requests=[record.id]
    )
    run.faults[-1] = structs.replace(run.faults[-1], role="outside")
    return run


def test_a_request_that_was_cut_off_is_no_violation_and_is_counted() -> None:
    run = a_run_with_a_cut()
    result = outcomes.judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures["cut"] == 1


def test_a_request_that_failed_beside_a_cut_is_a_violation() -> None:
    run = a_run_with_a_cut()
    index = run.first_of("healed")
    run.change_request(index, outcome="error", error=failed("x", 0, 1).error)
    result = outcomes.judge(run.history())
    assert (result.verdict, result.violations) == (Verdict.FAIL, 1)


def test_network_cut_damages_no_block() -> None:
    result = blast.judge(a_run_with_a_cut().history())
    assert result.verdict is Verdict.PASS
    assert result.figures == {"strikes": 0}
