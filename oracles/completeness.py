"""Are the ledgers whole? What was counted is listed; no copy is later than the last balance."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from history.protocol.audit_records import COPIES, Balance
from history.reader import History
from history.records import LedgerRecord
from history.verdict import process
from oracles.findings import Findings
from oracles.inputs import LEDGER
from oracles.offload import loaded_bytes
from oracles.rule import Rule
from oracles.views.timeline import NS_PER_S

LATE_NS = 2 * NS_PER_S
"""A ledger notes its balance a second after a change at the latest."""
NOT_LISTED = Rule(
    "transfer-invariants/violation-not-listed",
    "Each violation that a process counts has a line in its ledger.",
    "arithmetic",
    (LEDGER,),
    "there is no balance",
)


class LastBalance(Protocol):
    """The last balance of a process."""

    @property
    def line(self) -> LedgerRecord: ...

    @property
    def balance(self) -> Balance: ...


def judge(history: History, books: Iterable[LastBalance], found: Findings) -> None:
    """`books` are the last ones of each process, in the last life of the server."""
    listed = Counter((line.role, line.pid) for line in history.ledger if line.event == "violation")
    for book in books:
        line, balance = book.line, book.balance
        if balance.violations and not listed[line.role, line.pid]:
            text = f"{line.role} {line.pid} counted {balance.violations} violations and listed none of them"
            subject, figures = process(line.role, line.pid), {"counted": balance.violations}
            found.violation(NOT_LISTED, subject, text, figures=figures, t_ns=line.t_ns)
        if line.role == "worker":
            _copies(history, line, balance, found)


def _copies(history: History, line: LedgerRecord, balance: Balance, found: Findings) -> None:
    """Each copy is compared in audit mode, and none is later than the balance."""
    copies = balance.accounts.get(COPIES)
    if history.plan.scenario.server.audit and copies is not None and balance.audited < copies.begun:
        text = f"{balance.audited} blocks were compared in {copies.begun} copies"
        figures = {"audited": balance.audited, "copies": copies.begun}
        found.gap("few-audited", text, process(line.role, line.pid), figures=figures)
    log = history.metrics
    since = bisect_left(log.times_ns, line.t_ns + LATE_NS)
    if since >= len(log):
        return
    loaded = loaded_bytes(lambda metric, **labels: log.increase(since, len(log) - 1, metric, **labels))
    if loaded:
        text = f"{loaded:g} bytes were loaded after the last balance of {line.role} {line.pid}"
        found.gap("balance-too-old", text, process(line.role, line.pid), figures={"bytes": loaded})
