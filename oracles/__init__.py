"""The judges of a run: each a pure function from the history to a verdict with evidence.

One family a file. They know nothing of how the run was made: only `history`, numpy and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from history.plan import RunPlan
from history.reader import History
from history.scenario import StackName
from history.verdict import OracleResult
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    counters,
    drained,
    faults_fired,
    load_client,
    logs,
    metrics_crosscheck,
    offload,
    outcomes,
    performance,
    progress,
    resources,
    transfer_invariants,
)
from oracles.findings import (
    CLIENT,
    EVENTS,
    FAULTS,
    LEDGER,
    LOG,
    METRICS,
    PROMETHEUS,
    REQUESTS,
    RESOURCES,
    Rule,
)


@dataclass(frozen=True, slots=True)
class Oracle:
    """A judge: its name in scenarios and verdicts, what it watches, and what of a history it reads, first
    what it cannot do without."""

    name: str
    purpose: str
    reads: tuple[str, ...]
    judge: Callable[[History], OracleResult]
    rules: tuple[Rule, ...] = ()
    """What it judges by. Without any it never fails: it says whether the others can be believed."""


UNSEEN: dict[StackName, tuple[str, ...]] = {"attach": (LOG, RESOURCES)}
"""What a stack never shows."""

ORACLES: tuple[Oracle, ...] = (
    Oracle(alive.NAME, "the server lives to the end and still answers", (EVENTS,), alive.judge, alive.RULES),
    Oracle(
        progress.NAME, "work that waits moves on", (EVENTS, REQUESTS, METRICS), progress.judge, progress.RULES
    ),
    Oracle(logs.NAME, "the server's log tells of no crash", (LOG,), logs.judge, logs.RULES),
    Oracle(
        outcomes.NAME,
        "every request ends once, whole and without error",
        (REQUESTS, EVENTS),
        outcomes.judge,
        outcomes.RULES,
    ),
    Oracle(
        counters.NAME,
        "counters only grow and stay numbers",
        (METRICS, REQUESTS, LOG),
        counters.judge,
        counters.RULES,
    ),
    Oracle(
        accounting.NAME,
        "the server's token ledger adds up and agrees with the client's",
        (METRICS, REQUESTS, FAULTS),
        accounting.judge,
        accounting.RULES,
    ),
    Oracle(
        metrics_crosscheck.NAME,
        "Prometheus saw the same of the server's metrics as the suite",
        (PROMETHEUS, METRICS, REQUESTS, EVENTS),
        metrics_crosscheck.judge,
        metrics_crosscheck.RULES,
    ),
    Oracle(
        answers.NAME,
        "answers equal the golden ones, bit for bit where the build allows",
        (REQUESTS,),
        answers.judge,
        answers.RULES,
    ),
    Oracle(
        drained.NAME,
        "nothing is held once all requests are done",
        (EVENTS, METRICS),
        drained.judge,
        drained.RULES,
    ),
    Oracle(
        resources.NAME,
        "no process, thread, file, socket or memory is kept for good",
        (RESOURCES, EVENTS, METRICS, CLIENT),
        resources.judge,
        resources.RULES,
    ),
    Oracle(
        transfer_invariants.NAME,
        "what began with offloaded blocks ended once, and no block changed",
        (LEDGER, EVENTS, REQUESTS),
        transfer_invariants.judge,
        transfer_invariants.RULES,
    ),
    Oracle(
        faults_fired.NAME,
        "the planned faults, and only those, really struck",
        (FAULTS, EVENTS, METRICS, REQUESTS, LOG),
        faults_fired.judge,
        faults_fired.RULES,
    ),
    Oracle(
        blast.NAME,
        "a fault on the blocks of one request harms no other",
        (FAULTS, REQUESTS, EVENTS),
        blast.judge,
        blast.RULES,
    ),
    Oracle(
        load_client.NAME,
        "the load generator was fast enough to be believed",
        (CLIENT, REQUESTS),
        load_client.judge,
    ),
    Oracle(
        performance.NAME,
        "the server keeps to the scenario's bounds on speed",
        (REQUESTS, EVENTS, CLIENT),
        performance.judge,
        performance.RULES,
    ),
    Oracle(
        offload.NAME,
        "blocks really came back from the offload tier",
        (METRICS,),
        offload.judge,
        offload.RULES,
    ),
)


def all_rules() -> tuple[Rule, ...]:
    return tuple(rule for oracle in ORACLES for rule in oracle.rules)


def judges_of(plan: RunPlan) -> tuple[Oracle, ...]:
    """Those that have something to judge on the plan's stack; with Prometheus only where the plan has one."""
    unseen = (*UNSEEN.get(plan.stack, ()), *(() if plan.prometheus else (PROMETHEUS,)))
    return tuple(oracle for oracle in ORACLES if oracle.reads[0] not in unseen)
