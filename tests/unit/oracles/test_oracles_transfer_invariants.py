"""ledger must see what the server began and never ended, and blocks that changed by themselves."""

from __future__ import annotations

import msgspec
import pytest

from history.protocol.audit_records import CHANGED_IN_TIER
from history.records import Scalar
from history.scenario import ServerSettings
from history.verdict import Verdict, block
from oracles.transfer_invariants import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import MS, make_plan


def without_ledger(server: ServerSettings) -> Run:
    plan = make_plan()
    scenario = plan.scenario.model_copy(update={"server": server, "faults": ()})
    return clean_run(plan.model_copy(update={"scenario": scenario}))


def audited(blocks: int) -> Run:
    plan = make_plan()
    server = plan.scenario.server.model_copy(update={"audit": True})
    scenario = plan.scenario.model_copy(update={"server": server})
    run = clean_run(plan.model_copy(update={"scenario": scenario}))
    run.audit_line("worker", "balance", audited=blocks)
    return run


def final_probe_ns(run: Run) -> int:
    return run.requests[-1].start_ns


def test_balanced_transfer_audit_passes_with_its_counts() -> None:
    result = judge(clean_run().history())
    assert result.verdict is Verdict.PASS
    assert result.figures["stores"] == 4


@pytest.mark.parametrize(
    ("role", "label"), [("scheduler", "stores"), ("scheduler", "loads"), ("worker", "copies")]
)
def test_transfer_open_since_before_the_final_probe_fails(role: str, label: str) -> None:
    run = clean_run()
    since = final_probe_ns(run) - MS
    run.audit_line(role, "balance", **{f"{label}_open": 1, f"{label}_since_ns": since})
    rule = {"stores": "store", "loads": "load", "copies": "copy"}[label] + "-never-ended"
    finding = finding_of(judge(run.history()), f"transfer-invariants/{rule}")
    assert finding.figures == {"open": 1}


def test_transfer_of_the_final_probe_may_stay_open() -> None:
    run = clean_run()
    run.audit_line("scheduler", "balance", stores_open=1, stores_since_ns=final_probe_ns(run) + MS)
    assert judge(run.history()).verdict is Verdict.PASS


def test_only_the_last_balance_of_a_process_counts() -> None:
    run = clean_run()
    run.audit_line("worker", "balance", copies_open=3, copies_since_ns=1)
    run.audit_line("worker", "balance")
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_broken_rule_fails_and_names_rule_block_and_process() -> None:
    run = clean_run()
    run.audit_line("worker", "violation", CHANGED_IN_TIER, job=7, block=3)
    finding = finding_of(judge(run.history()), "transfer-invariants/changed-in-tier")
    assert finding.subject == block("3")
    assert finding.figures == {"pid": 100}


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_transfer_audit_of_one_role_alone_is_unknown(role: str) -> None:
    run = clean_run()
    run.ledger = [record for record in run.ledger if record.role != role]
    gap_of(judge(run.history()), f"transfer-invariants/no-{role}-ledger")


def test_transfer_audit_of_a_dead_server_is_unknown() -> None:
    run = clean_run()
    run.event("server_exit", code=1)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_open_transfer_without_a_final_probe_is_unknown() -> None:
    run = clean_run()
    run.change_event("probe", where="ready")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("blocks", "verdict"), [(0, Verdict.UNKNOWN), (5, Verdict.PASS)])
def test_an_audit_that_compared_nothing_is_unknown(blocks: int, verdict: Verdict) -> None:
    assert judge(audited(blocks).history()).verdict is verdict


@pytest.mark.parametrize(
    "server", [ServerSettings(gpu_blocks=40, chaos=False), ServerSettings(gpu_blocks=40, ledger=False)]
)
@pytest.mark.parametrize(("evidence", "verdict"), [({}, Verdict.PASS), ({"stores_open": 0}, Verdict.FAIL)])
def test_server_without_a_ledger_writes_no_line_of_one(
    server: ServerSettings, evidence: dict[str, Scalar], verdict: Verdict
) -> None:
    run = without_ledger(server)
    if evidence:
        run.audit_line("scheduler", "balance", **evidence)
    assert judge(run.history()).verdict is verdict


def used_before(audited_before: int) -> Run:
    """A run in audit mode on a server that another run has used, with books from then."""
    plan = make_plan()
    server = plan.scenario.server.model_copy(update={"audit": True})
    scenario = plan.scenario.model_copy(update={"server": server})
    plan = plan.model_copy(update={"scenario": scenario, "preceded_by": ("earlier",)})
    run = clean_run(plan)
    for role, audited in (("scheduler", 0), ("worker", audited_before)):
        run.audit_line(role, "balance", audited=audited)
        run.ledger.insert(0, msgspec.structs.replace(run.ledger.pop(), t_ns=run.events[0].t_ns - MS))
    return run


def test_transfers_from_before_the_run_are_subtracted() -> None:
    run = used_before(audited_before=5)
    run.audit_line("worker", "balance", audited=12, copies_begun=10)
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert (result.figures["copies"], result.figures["audited"]) == (6, 7)


def test_an_audit_that_compared_blocks_before_the_run_only_is_unknown() -> None:
    run = used_before(audited_before=5)
    run.audit_line("worker", "balance", audited=5)
    assert judge(run.history()).verdict is Verdict.UNKNOWN
