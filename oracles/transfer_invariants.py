"""Did each store, load and copy of offloaded blocks end once, and did no block change?

The oracle reads the ledgers that the chaos module writes inside the server, independent of vLLM's metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from history.events import FINAL, ProbeSent
from history.protocol import audit_records as ids
from history.protocol.audit_records import COPIES, Balance, Label, Violation
from history.protocol.evidence import as_stored
from history.reader import History
from history.records import LedgerRecord
from history.verdict import SERVER, OracleResult, Subject, process
from history.verdict import block as block_subject
from oracles.findings import EVENTS, LEDGER, REQUESTS, Findings, Oracle, Rule, Source
from oracles.views.counter_growth import loaded_bytes
from oracles.views.incarnations import deaths, incarnations
from oracles.views.timeline import NS_PER_S

NAME = "transfer-invariants"
ROLES = ("scheduler", "worker")
ACCOUNTS = {
    ids.STORES: "prepared stores",
    ids.LOADS: "prepared loads",
    ids.COPIES: "copies",
}
LATE_NS = 2 * NS_PER_S
"""A ledger notes its balance a second after a change at the latest."""


class BalanceLine(NamedTuple):
    """A balance and the line that holds it."""

    line: LedgerRecord
    balance: Balance


Books = dict[tuple[str, int], BalanceLine]
"""A balance of each book, by role and process id."""
CONTRACT: Source = "plug-in contract"


def _rule(
    name: str, law: str, source: Source = CONTRACT, inconclusive: str = "a process has no ledger"
) -> Rule:
    return Rule(f"{NAME}/{name}", law, source, (LEDGER,), inconclusive)


AUDITED = "audit mode is off, or no block was compared"
RECORDED = {
    rule.id.removeprefix(f"{NAME}/"): rule
    for rule in (
        _rule(ids.STORED_TWICE, "No block is stored twice at a time."),
        _rule(ids.CHUNK_SHARED, "No chunk of the tier has two blocks."),
        _rule(ids.STORE_NOT_BEGUN, "Each store that ends has begun."),
        _rule(ids.LOADED_BEFORE_STORED, "No block is loaded before its store has ended."),
        _rule(ids.LOADED_ELSEWHERE, "A block is loaded from the chunk that it was stored to."),
        _rule(ids.LOAD_NOT_BEGUN, "Each load that ends has begun."),
        _rule(ids.EVICTED_WHILE_LOADED, "No block is evicted while it is loaded."),
        _rule(ids.EVICTED_WHILE_STORED, "No block is evicted while it is stored."),
        _rule(ids.SURVIVED_RESET, "After a reset of the tier no block is in it.", "vLLM documentation"),
        _rule(ids.COPY_BEGUN_TWICE, "No copy begins twice."),
        _rule(ids.COPY_NOT_BEGUN, "Each copy that ends has begun."),
        _rule(
            ids.CHANGED_IN_TIER,
            "A block in the tier has the bytes that its store wrote.",
            inconclusive=AUDITED,
        ),
        _rule(
            ids.CHANGED_WHILE_STORED,
            "A store writes the bytes that the block had when it began.",
            inconclusive=AUDITED,
        ),
        _rule(
            ids.CHANGED_WHILE_LOADED,
            "A load writes the bytes that the chunk had when it began.",
            inconclusive=AUDITED,
        ),
    )
}
"""What the chaos module looks for, by the ids in its ledgers."""
BROKEN = {
    ids.STORED_TWICE: "a block was stored twice at a time",
    ids.CHUNK_SHARED: "a chunk was given to a second block",
    ids.STORE_NOT_BEGUN: "a store ended that had not begun",
    ids.LOADED_BEFORE_STORED: "a block was loaded before it was stored",
    ids.LOADED_ELSEWHERE: "a block was loaded from another chunk than it was stored to",
    ids.LOAD_NOT_BEGUN: "a load ended that had not begun",
    ids.EVICTED_WHILE_LOADED: "a block was evicted while it was loaded",
    ids.EVICTED_WHILE_STORED: "a block was evicted while it was stored",
    ids.SURVIVED_RESET: "a block was in the tier after its reset",
    ids.COPY_BEGUN_TWICE: "a copy began twice",
    ids.COPY_NOT_BEGUN: "a copy ended that had not begun",
    ids.CHANGED_IN_TIER: "a block changed in the tier since it was stored",
    ids.CHANGED_WHILE_STORED: "a block changed while it was stored",
    ids.CHANGED_WHILE_LOADED: "a block changed while it was loaded",
}
"""The text of a finding, by the id in the ledger."""
UNKNOWN_RULE = _rule("unknown", "The ledgers name only rules that this version knows.")
NEVER_ENDED = {
    ids.STORES: _rule("store-never-ended", "Each store that began before the final probe has ended."),
    ids.LOADS: _rule("load-never-ended", "Each load that began before the final probe has ended."),
    ids.COPIES: _rule("copy-never-ended", "Each copy that began before the final probe has ended."),
}
OFF = _rule("ledger-while-off", "A server without the chaos module has no ledger.", "scenario", "never")
NOT_LISTED = Rule(
    "transfer-invariants/violation-not-listed",
    "Each violation that a process counts has a line in its ledger.",
    "arithmetic",
    (LEDGER,),
    "there is no balance",
)
RULES = (*RECORDED.values(), UNKNOWN_RULE, *NEVER_ENDED.values(), OFF, NOT_LISTED)


def judge(history: History) -> OracleResult:
    """No rule was broken, and nothing that began before the last probe is still open at the end."""
    found = Findings(NAME)
    settings = history.plan.scenario.server
    if not settings.keeps_ledger:
        return _without_ledger(history, found)
    for record in history.ledger:
        violation = record.violation
        if violation is not None:
            _broken(record, violation, found)
    last, first = _last_books(history), _first_books(history)
    _gaps(history, last, found)
    deadline_ns = _final_start_ns(history)
    if deadline_ns is not None:
        for book in last.values():
            _open(book, deadline_ns, found)
    _completeness(history, last.values(), found)
    audited = _grown(first, last, lambda balance: balance.audited)
    if settings.audit and not audited:
        found.gap("nothing-audited", "audit mode is on, but no block was compared")
    begun = {label: _grown(first, last, partial(_begun, label)) for label in ACCOUNTS}
    ended = ", ".join(f"{begun[label]} {outcome}" for label, outcome in ACCOUNTS.items())
    passed = f"each of {ended} ended once, and {audited} blocks were compared"
    return found.result(passed, audited=audited, **begun)


def _without_ledger(history: History, found: Findings) -> OracleResult:
    """There is no ledger: any would show that the module was loaded, or wrote it unasked."""
    found.checked += 1
    settings = history.plan.scenario.server
    off = "the ledger" if settings.offload and settings.chaos else "it"
    if history.ledger:
        first = history.ledger[0]
        text = f"the chaos module wrote a ledger although {off} is off ({first.role} {first.pid})"
        found.violation(OFF, SERVER, text, t_ns=first.t_ns)
    if off == "it":
        return found.result("the chaos module is off and wrote no ledger")
    return found.result("the ledger is off, and the chaos module wrote none")


def _last_books(history: History) -> Books:
    """The last balance of each book. Those of a life that a fault ended were never closed."""
    began_ns = max((life.start_ns for life in incarnations(history)[1:]), default=0)
    return _books(record for record in history.ledger if record.t_ns >= began_ns)


def _first_books(history: History) -> Books:
    """The balance of each book from before the run, of a server that earlier runs have used."""
    if not history.plan.preceded_by:
        return {}
    began_ns = history.events[0].t_ns
    return _books(record for record in history.ledger if record.t_ns < began_ns)


def _books(lines: Iterable[LedgerRecord]) -> Books:
    """The last balance of each book."""
    last = {(line.role, line.pid): line for line in lines if line.event == "balance"}
    return {name: BalanceLine(line, line.balance) for name, line in last.items() if line.balance is not None}


def _gaps(history: History, last: Books, found: Findings) -> None:
    for role in ROLES:
        if not any(role == known for known, _ in last):
            found.gap(f"no-{role}-ledger", f"there is no ledger of the {role}")
    if deaths(history):
        found.gap("server-died", "the server died before its ledgers were complete")
    elif _final_start_ns(history) is None:
        found.gap("no-final-probe", "no final probe was sent")


def _final_start_ns(history: History) -> int | None:
    sent = [event.data.request for event in history.events_of(ProbeSent) if event.data.where == FINAL]
    return next((record.start_ns for record in history.requests if record.id in sent), None)


def _open(book: BalanceLine, deadline_ns: int, found: Findings) -> None:
    """What is still open, of what began before a time."""
    line = book.line
    for label, account in book.balance.accounts.items():
        found.checked += 1
        if account.open and account.since_ns is not None and account.since_ns < deadline_ns:
            outcome, some = ACCOUNTS[label], ", ".join(account.names)
            text = f"{account.open} {outcome} never ended, among them {some} ({line.role} {line.pid})"
            subject, figures = process(line.role, line.pid), {"open": account.open}
            found.violation(NEVER_ENDED[label], subject, text, figures=figures, t_ns=line.t_ns)


def _grown(first: Books, last: Books, count: Callable[[Balance], int]) -> int:
    """The growth of a count in the run, over all ledgers."""
    return sum(
        count(book.balance) - (count(first[name].balance) if name in first else 0)
        for name, book in last.items()
    )


def _begun(label: Label, balance: Balance) -> int:
    account = balance.accounts.get(label)
    return 0 if account is None else account.begun


def _broken(record: LedgerRecord, violation: Violation, found: Findings) -> None:
    """A violation that the chaos module has recorded."""
    name = str(record.rule)
    rule = RECORDED.get(name, UNKNOWN_RULE)
    details = ", ".join(f"{key} {value}" for key, value in as_stored(violation).items())
    text = f"{BROKEN.get(name, name)} ({record.role} {record.pid}: {details})"
    subject = _subject(record, violation)
    found.violation(rule, subject, text, figures={"pid": record.pid}, t_ns=record.t_ns)


def _subject(record: LedgerRecord, violation: Violation) -> Subject:
    block = violation.key if violation.key is not None else violation.block
    return process(record.role, record.pid) if block is None else block_subject(str(block))


def _completeness(history: History, books: Iterable[BalanceLine], found: Findings) -> None:
    """Are the ledgers whole? `books` are the last ones of each process, in the last life of the server."""
    listed = Counter((line.role, line.pid) for line in history.ledger if line.event == "violation")
    for book in books:
        line, balance = book.line, book.balance
        if balance.violations and not listed[line.role, line.pid]:
            text = f"{line.role} {line.pid} counted {balance.violations} violations but listed none of them"
            subject, figures = process(line.role, line.pid), {"counted": balance.violations}
            found.violation(NOT_LISTED, subject, text, figures=figures, t_ns=line.t_ns)
        if line.role == "worker":
            _copies(history, line, balance, found)


def _copies(history: History, line: LedgerRecord, balance: Balance, found: Findings) -> None:
    """Each copy is compared in audit mode, and none is later than the balance."""
    copies = balance.accounts.get(COPIES)
    if history.plan.scenario.server.audit and copies is not None and balance.audited < copies.begun:
        text = f"only {balance.audited} blocks were compared in {copies.begun} copies"
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


ORACLE = Oracle(
    NAME,
    "each transfer of offloaded blocks ends once, and no block changes",
    (LEDGER, EVENTS, REQUESTS),
    judge,
    RULES,
)
