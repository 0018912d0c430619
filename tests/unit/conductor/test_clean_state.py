"""A server must not serve another run when anything of the run before is left in it, or may be."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from history.records import LedgerRecord, ResourceRecord, Scalar
from kvchaos.conductor.handover import HALF_JOURNAL, EndState, objections, of_the_caches, of_the_resources
from kvchaos.conductor.server_state import Gauges, ResetResult

BEFORE = ResourceRecord(
    t_ns=1,
    mono_ns=1,
    leader=100,
    started=7,
    processes=3,
    threads=40,
    files=50,
    sockets=12,
    resident_bytes=10,
    anonymous_bytes=5,
    shm_bytes=0,
)


def balance(role: str, **evidence: Scalar) -> LedgerRecord:
    known: dict[str, Scalar] = {"audited": 0, "violations": 0}
    for label in {"scheduler": ("stores", "loads"), "worker": ("copies",)}[role]:
        known |= {f"{label}_begun": 4, f"{label}_open": 0, f"{label}_since_ns": None}
    if role == "scheduler":
        known["resident"] = 0
    return LedgerRecord(
        t_ns=1, mono_ns=1, role=role, pid=101, event="balance", rule=None, evidence={**known, **evidence}
    )


def violation(rule: str) -> LedgerRecord:
    return LedgerRecord(
        t_ns=1, mono_ns=1, role="scheduler", pid=101, event="violation", rule=rule, evidence={}
    )


RESET = ResetResult(True, "", "")
CLEAN = EndState(
    starts=1,
    unhealed=(),
    drained=True,
    gauges=Gauges(0.0, 0.0, 0.0),
    ledger=(balance("scheduler"), balance("worker")),
    journal_bytes=1000,
    log="INFO: ready\n",
)


def test_fresh_server_is_clean() -> None:
    assert objections(CLEAN) == []
    assert list(of_the_caches(RESET, CLEAN.ledger)) == []
    assert list(of_the_resources(BEFORE, BEFORE)) == []


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (replace(CLEAN, starts=2), "restarted"),
        (replace(CLEAN, unhealed=("chaos",)), "not-healed"),
        (replace(CLEAN, drained=False), "not-drained"),
        (replace(CLEAN, gauges=Gauges(1.0, 0.0, 0.0)), "gauge-not-zero"),
        (replace(CLEAN, gauges=Gauges(0.0, 2.0, 0.0)), "gauge-not-zero"),
        (replace(CLEAN, gauges=Gauges(0.0, 0.0, 0.025)), "gauge-not-zero"),
        (replace(CLEAN, gauges=Gauges(0.0, 0.0, None)), "gauge-absent"),
        (replace(CLEAN, lasting_damage=("nan",)), "lasting-damage"),
        (replace(CLEAN, journal_bytes=HALF_JOURNAL + 1), "journal-too-long"),
        (replace(CLEAN, log="INFO: ready\nTraceback (most recent call last):\n"), "crash-logged"),
        (replace(CLEAN, log="INFO: rea"), "log-line-cut"),
        (replace(CLEAN, ledger=(balance("worker"),)), "no-ledger"),
        (replace(CLEAN, ledger=(balance("scheduler"),)), "no-ledger"),
        (
            replace(CLEAN, ledger=(*CLEAN.ledger, violation("a block is stored twice at a time"))),
            "ledger-violation",
        ),
        (replace(CLEAN, ledger=(balance("scheduler", stores_open=1), balance("worker"))), "ledger-open"),
        (replace(CLEAN, ledger=(balance("scheduler"), balance("worker", copies_open=2))), "ledger-open"),
    ],
)
def test_clean_state_names_remains_and_unknowns(state: EndState, kind: str) -> None:
    assert [objection.kind for objection in objections(state)] == [kind]


def test_a_line_that_the_scenario_expects_is_no_crash() -> None:
    log = "ERROR validation.py:151] Traceback (most recent call last):\n"
    assert objections(replace(CLEAN, log=log, allowed=(r"validation\.py:\d+\] Traceback",))) == []
    assert objections(replace(CLEAN, log=f"{log}EngineDeadError\n", allowed=("validation",))) != []


@pytest.mark.parametrize(
    "reset", [ResetResult(False, "", "blocks are in use"), ResetResult(None, "", "no answer")]
)
def test_caches_that_were_not_reset_are_not_empty(reset: ResetResult) -> None:
    (objection,) = of_the_caches(reset, CLEAN.ledger)
    assert objection.kind == "not-reset"
    assert reset.detail in objection.text


def test_blocks_that_stay_in_the_tier_are_counted() -> None:
    ledger = (balance("scheduler", resident=3), balance("worker"))
    (objection,) = of_the_caches(RESET, ledger)
    assert objection.kind == "tier-not-empty"
    assert objection.text.endswith(" 3")
    assert list(of_the_caches(RESET, (*ledger, balance("scheduler")))) == []


def test_audit_log_without_block_counts_is_unknown() -> None:
    """Its manager may keep no such count: that is no proof that the tier is empty."""
    silent = balance("scheduler", resident=None)
    for ledger in ((silent, balance("worker")), ()):
        (objection,) = of_the_caches(RESET, ledger)
        assert objection.kind == "tier-not-empty"


@pytest.mark.parametrize(
    ("count", "more"),
    [("processes", 0), ("threads", 32), ("files", 0), ("sockets", 0), ("shm_bytes", 1 << 20)],
)
def test_memory_growth_beyond_a_filling_pool_is_not_clean(count: str, more: int) -> None:
    def with_more(number: int) -> ResourceRecord:
        return msgspec.structs.replace(BEFORE, **{count: getattr(BEFORE, count) + number})

    assert list(of_the_resources(with_more(more), BEFORE)) == []
    (objection,) = of_the_resources(with_more(more + 1), BEFORE)
    assert objection.kind == "uses-more"


@pytest.mark.parametrize(("now", "before"), [(None, BEFORE), (BEFORE, None)])
def test_missing_resource_sample_is_not_clean(
    now: ResourceRecord | None, before: ResourceRecord | None
) -> None:
    assert [objection.kind for objection in of_the_resources(now, before)] == ["usage-unseen"]


def test_changed_leader_process_is_not_clean() -> None:
    other = msgspec.structs.replace(BEFORE, leader=200)
    assert [objection.kind for objection in of_the_resources(other, BEFORE)] == ["another-process"]
