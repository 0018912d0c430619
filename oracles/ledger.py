"""Did everything that the server began with offloaded blocks end once, and did blocks stay what they were?

From the books that the chaos module keeps inside the server, beside vLLM's own.
"""

from __future__ import annotations

from history.reader import History
from history.records import LedgerRecord
from history.verdict import OracleResult, Witness
from oracles.findings import Findings
from oracles.lives import deaths, lives

NAME = "ledger"
ROLES = ("scheduler", "worker")
ACCOUNTS = {
    "stores": "prepared stores",
    "loads": "prepared loads",
    "copies": "copies",
}
FINAL = "final"
"""The canary that is sent when all load is over: what began before it has had every chance to end."""
Books = dict[tuple[str, int], LedgerRecord]
"""A balance of each book, by role and process id."""


def judge(history: History) -> OracleResult:
    """No rule was broken, and nothing that began before the last canary is still open at the end."""
    found = Findings(NAME)
    settings = history.plan.scenario.server
    if not (settings.offload and settings.chaos):
        return _without_module(history, found)
    for record in history.ledger:
        if record.event == "violation":
            found.violation(_witness(record, str(record.rule)))
    last, first = _last_books(history), _first_books(history)
    _gaps(history, last, found)
    deadline_ns = _final_start_ns(history)
    if deadline_ns is not None:
        for balance in last.values():
            _open(balance, deadline_ns, found)
    audited = _grown(first, last, "audited")
    if settings.audit and not audited:
        found.gap("audit mode is on and no block was compared")
    ended = ", ".join(f"{_grown(first, last, f'{label}_begun')} {words}" for label, words in ACCOUNTS.items())
    return found.result(f"each ended once: {ended}; {audited} blocks compared")


def _without_module(history: History, found: Findings) -> OracleResult:
    """Where the module is not loaded there are no books: any would show that it was."""
    found.checked += 1
    if history.ledger:
        found.violation(_witness(history.ledger[0], "the chaos module kept books though it is off"))
    return found.result("the chaos module is off and kept no books")


def _last_books(history: History) -> Books:
    """The last balance of each book. Those of a life that a fault ended were never closed."""
    began_ns = max((life.start_ns for life in lives(history)[1:]), default=0)
    return {
        (record.role, record.pid): record
        for record in history.ledger
        if record.event == "balance" and record.t_ns >= began_ns
    }


def _first_books(history: History) -> Books:
    """The balance of each book from before the run, of a server that earlier runs have used."""
    if not history.plan.preceded_by:
        return {}
    began_ns = history.events[0].t_ns
    return {
        (record.role, record.pid): record
        for record in history.ledger
        if record.event == "balance" and record.t_ns < began_ns
    }


def _gaps(history: History, last: Books, found: Findings) -> None:
    for role in ROLES:
        if not any(role == known for known, _ in last):
            found.gap(f"no books of the {role}")
    if deaths(history):
        found.gap("the server died with its books open")
    elif _final_start_ns(history) is None:
        found.gap("no final canary")


def _final_start_ns(history: History) -> int | None:
    sent = [
        event.data.get("request") for event in history.events_of("canary") if event.data["where"] == FINAL
    ]
    return next((record.start_ns for record in history.requests if record.id in sent), None)


def _open(balance: LedgerRecord, deadline_ns: int, found: Findings) -> None:
    """What is still open, of what began before a time."""
    for label, words in ACCOUNTS.items():
        count, since = _count(balance, f"{label}_open"), balance.evidence.get(f"{label}_since_ns")
        if f"{label}_begun" not in balance.evidence:
            continue
        found.checked += 1
        if count and isinstance(since, int) and since < deadline_ns:
            names = balance.evidence.get(f"{label}_names")
            told = ", ".join(map(str, names)) if isinstance(names, list) else ""
            found.violation(_witness(balance, f"{count} {words} never ended, among them {told}"))


def _grown(first: Books, last: Books, name: str) -> int:
    """By how much a count has grown in the run, over all books."""
    return sum(
        _count(balance, name) - (_count(first[book], name) if book in first else 0)
        for book, balance in last.items()
    )


def _count(balance: LedgerRecord, name: str) -> int:
    value = balance.evidence.get(name)
    return value if isinstance(value, int) else 0


def _witness(record: LedgerRecord, text: str) -> Witness:
    told = ", ".join(f"{key} {value}" for key, value in record.evidence.items()) if record.rule else ""
    where = f"{record.role} {record.pid}"
    return Witness(text=f"{text} ({where}{': ' + told if told else ''})", t_ns=record.t_ns)
