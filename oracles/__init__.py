"""The judges of a run: each a pure function from the history to a verdict with evidence.

One family a file. They know nothing of how the run was made: only `history` and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
)


@dataclass(frozen=True, slots=True)
class Oracle:
    """A judge: its name in scenarios and verdicts, what it watches, and its function."""

    name: str
    purpose: str
    judge: Callable[[History], OracleResult]


ORACLES: tuple[Oracle, ...] = (
    Oracle(alive.NAME, "the server lives to the end and still answers", alive.judge),
    Oracle(progress.NAME, "work that waits moves on", progress.judge),
    Oracle(logs.NAME, "the server's log tells of no crash", logs.judge),
    Oracle(outcomes.NAME, "every request ends once, whole and without error", outcomes.judge),
    Oracle(counters.NAME, "counters only grow and stay numbers", counters.judge),
    Oracle(
        accounting.NAME, "the server's token ledger adds up and agrees with the client's", accounting.judge
    ),
    Oracle(answers.NAME, "answers equal the golden ones, bit for bit where the build allows", answers.judge),
    Oracle(drained.NAME, "nothing is held once all requests are done", drained.judge),
    Oracle(resources.NAME, "no process, thread, file, socket or memory is kept for good", resources.judge),
    Oracle(ledger.NAME, "what began with offloaded blocks ended once, and no block changed", ledger.judge),
    Oracle(faults.NAME, "the planned faults, and only those, really struck", faults.judge),
    Oracle(blast.NAME, "a fault on the blocks of one request harms no other", blast.judge),
    Oracle(client.NAME, "the load generator was fast enough to be believed", client.judge),
    Oracle(performance.NAME, "the server keeps to the scenario's bounds on speed", performance.judge),
    Oracle(offload.NAME, "blocks really came back from the offload tier", offload.judge),
)
