"""The judges of a run: each a pure function from the history to a verdict with evidence.

One family a file. They know nothing of how the run was made: only `history`, numpy and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from history.plan import RunPlan, StackName
from history.reader import History
from history.verdict import OracleResult
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    client,
    counters,
    drained,
    faults,
    ledger,
    logs,
    offload,
    outcomes,
    performance,
    progress,
    resources,
    witnesses,
)


@dataclass(frozen=True, slots=True)
class Oracle:
    """A judge: its name in scenarios and verdicts, what it watches, and what of a history it reads, first
    what it cannot do without."""

    name: str
    purpose: str
    reads: tuple[str, ...]
    judge: Callable[[History], OracleResult]


REQUESTS = "requests"
METRICS = "metrics"
PROMETHEUS = "what Prometheus saw"
EVENTS = "events"
FAULTS = "fault journal"
LEDGER = "ledger"
LOG = "server's log"
CLIENT = "client"
RESOURCES = "resources"

UNSEEN: dict[StackName, tuple[str, ...]] = {"attach": (LOG, RESOURCES)}
"""What a stack never shows."""

ORACLES: tuple[Oracle, ...] = (
    Oracle(alive.NAME, "the server lives to the end and still answers", (EVENTS,), alive.judge),
    Oracle(progress.NAME, "work that waits moves on", (EVENTS, REQUESTS, METRICS), progress.judge),
    Oracle(logs.NAME, "the server's log tells of no crash", (LOG,), logs.judge),
    Oracle(
        outcomes.NAME, "every request ends once, whole and without error", (REQUESTS, EVENTS), outcomes.judge
    ),
    Oracle(counters.NAME, "counters only grow and stay numbers", (METRICS, REQUESTS, LOG), counters.judge),
    Oracle(
        accounting.NAME,
        "the server's token ledger adds up and agrees with the client's",
        (METRICS, REQUESTS, FAULTS),
        accounting.judge,
    ),
    Oracle(
        witnesses.NAME,
        "Prometheus saw the same of the server's metrics as the suite",
        (PROMETHEUS, METRICS, REQUESTS, EVENTS),
        witnesses.judge,
    ),
    Oracle(
        answers.NAME,
        "answers equal the golden ones, bit for bit where the build allows",
        (REQUESTS,),
        answers.judge,
    ),
    Oracle(drained.NAME, "nothing is held once all requests are done", (EVENTS, METRICS), drained.judge),
    Oracle(
        resources.NAME,
        "no process, thread, file, socket or memory is kept for good",
        (RESOURCES, EVENTS, METRICS, CLIENT),
        resources.judge,
    ),
    Oracle(
        ledger.NAME,
        "what began with offloaded blocks ended once, and no block changed",
        (LEDGER, EVENTS, REQUESTS),
        ledger.judge,
    ),
    Oracle(
        faults.NAME,
        "the planned faults, and only those, really struck",
        (FAULTS, EVENTS, METRICS, REQUESTS, LOG),
        faults.judge,
    ),
    Oracle(
        blast.NAME,
        "a fault on the blocks of one request harms no other",
        (FAULTS, REQUESTS, EVENTS),
        blast.judge,
    ),
    Oracle(
        client.NAME, "the load generator was fast enough to be believed", (CLIENT, REQUESTS), client.judge
    ),
    Oracle(
        performance.NAME,
        "the server keeps to the scenario's bounds on speed",
        (REQUESTS, EVENTS, CLIENT),
        performance.judge,
    ),
    Oracle(offload.NAME, "blocks really came back from the offload tier", (METRICS,), offload.judge),
)


def judges_of(plan: RunPlan) -> tuple[Oracle, ...]:
    """Those that have something to judge on the plan's stack, and by the witnesses that it asks for."""
    unseen = (*UNSEEN.get(plan.stack, ()), *(() if plan.prometheus else (PROMETHEUS,)))
    return tuple(oracle for oracle in ORACLES if oracle.reads[0] not in unseen)
