"""Did everything that the server began with offloaded blocks end once, and did blocks stay what they were?

From the books that the chaos module keeps inside the server, beside vLLM's own.
"""

from __future__ import annotations

from history.finding import SERVER, Subject, process
from history.finding import block as block_subject
from history.reader import History
from history.records import LedgerRecord
from history.verdict import OracleResult
from oracles.findings import Findings
from oracles.inputs import LEDGER
from oracles.lives import deaths, lives
from oracles.rule import Rule, Source

NAME = "transfer-invariants"
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
CONTRACT: Source = "plug-in contract"


def _rule(
    name: str, law: str, source: Source = CONTRACT, inconclusive: str = "a process has no ledger"
) -> Rule:
    return Rule(f"{NAME}/{name}", law, source, (LEDGER,), inconclusive)


AUDITED = "audit mode is off, or no block was compared"
RECORDED = {
    "a block is stored twice at a time": _rule("block-stored-twice", "No block is stored twice at a time."),
    "a chunk is given to a second block": _rule("chunk-shared", "No chunk of the tier has two blocks."),
    "a store ends that had not begun": _rule("store-not-begun", "Each store that ends has begun."),
    "a block is loaded before it is stored": _rule(
        "loaded-before-stored", "No block is loaded before its store has ended."
    ),
    "a block is loaded from another chunk than it was stored to": _rule(
        "loaded-from-other-chunk", "A block is loaded from the chunk that it was stored to."
    ),
    "a load ends that had not begun": _rule("load-not-begun", "Each load that ends has begun."),
    "a block is evicted while it is loaded": _rule(
        "evicted-while-loaded", "No block is evicted while it is loaded."
    ),
    "a block is evicted while it is stored": _rule(
        "evicted-while-stored", "No block is evicted while it is stored."
    ),
    "a block is in the tier after its reset": _rule(
        "survived-reset", "After a reset of the tier no block is in it.", "vLLM documentation"
    ),
    "a copy is begun twice": _rule("copy-begun-twice", "No copy begins twice."),
    "a copy ends that had not begun": _rule("copy-not-begun", "Each copy that ends has begun."),
    "a block changed in the tier since it was stored": _rule(
        "changed-in-tier", "A block in the tier has the bytes that its store wrote.", inconclusive=AUDITED
    ),
    "a block changed while it was stored": _rule(
        "changed-while-stored",
        "A store writes the bytes that the block had when it began.",
        inconclusive=AUDITED,
    ),
    "a block changed while it was loaded": _rule(
        "changed-while-loaded",
        "A load writes the bytes that the chunk had when it began.",
        inconclusive=AUDITED,
    ),
}
"""What the chaos module looks for, by its sentence in the ledgers of earlier versions."""
BY_NAME = {rule.id.removeprefix(f"{NAME}/"): rule for rule in RECORDED.values()}
"""The same by its name in the ledgers."""
SENTENCES = {rule: sentence for sentence, rule in RECORDED.items()}
UNKNOWN_RULE = _rule("unknown", "The ledgers name no rule that this version does not know.")
NEVER_ENDED = {
    "stores": _rule("store-never-ended", "Each store that began before the final probe has ended."),
    "loads": _rule("load-never-ended", "Each load that began before the final probe has ended."),
    "copies": _rule("copy-never-ended", "Each copy that began before the final probe has ended."),
}
OFF = _rule("ledger-while-off", "A server without the chaos module has no ledger.", "scenario", "never")
RULES = (*RECORDED.values(), UNKNOWN_RULE, *NEVER_ENDED.values(), OFF)


def judge(history: History) -> OracleResult:
    """No rule was broken, and nothing that began before the last canary is still open at the end."""
    found = Findings(NAME)
    settings = history.plan.scenario.server
    if not (settings.offload and settings.chaos):
        return _without_module(history, found)
    for record in history.ledger:
        if record.event == "violation":
            _broken(record, found)
    last, first = _last_books(history), _first_books(history)
    _gaps(history, last, found)
    deadline_ns = _final_start_ns(history)
    if deadline_ns is not None:
        for balance in last.values():
            _open(balance, deadline_ns, found)
    audited = _grown(first, last, "audited")
    if settings.audit and not audited:
        found.gap("nothing-audited", "audit mode is on and no block was compared")
    begun = {label: _grown(first, last, f"{label}_begun") for label in ACCOUNTS}
    ended = ", ".join(f"{begun[label]} {words}" for label, words in ACCOUNTS.items())
    passed = f"each ended once: {ended}; {audited} blocks compared"
    return found.result(passed, audited=audited, **begun)


def _without_module(history: History, found: Findings) -> OracleResult:
    """Where the module is not loaded there are no books: any would show that it was."""
    found.checked += 1
    if history.ledger:
        first = history.ledger[0]
        text = f"the chaos module kept books though it is off ({first.role} {first.pid})"
        found.violation(OFF, SERVER, text, t_ns=first.t_ns)
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
            found.gap(f"no-{role}-ledger", f"no books of the {role}")
    if deaths(history):
        found.gap("server-died", "the server died with its books open")
    elif _final_start_ns(history) is None:
        found.gap("no-final-probe", "no final canary")


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
            some = ", ".join(map(str, names)) if isinstance(names, list) else ""
            text = f"{count} {words} never ended, among them {some} ({balance.role} {balance.pid})"
            subject = process(balance.role, balance.pid)
            figures = {"open": count}
            found.violation(NEVER_ENDED[label], subject, text, figures=figures, t_ns=balance.t_ns)


def _grown(first: Books, last: Books, name: str) -> int:
    """By how much a count has grown in the run, over all books."""
    return sum(
        _count(balance, name) - (_count(first[book], name) if book in first else 0)
        for book, balance in last.items()
    )


def _count(balance: LedgerRecord, name: str) -> int:
    value = balance.evidence.get(name)
    return value if isinstance(value, int) else 0


def _broken(record: LedgerRecord, found: Findings) -> None:
    """A violation that the chaos module has recorded."""
    name = str(record.rule)
    rule = BY_NAME.get(name) or RECORDED.get(name) or UNKNOWN_RULE
    details = ", ".join(f"{key} {value}" for key, value in record.evidence.items())
    text = f"{SENTENCES.get(rule, name)} ({record.role} {record.pid}: {details})"
    found.violation(rule, _subject(record), text, t_ns=record.t_ns)


def _subject(record: LedgerRecord) -> Subject:
    block = record.evidence.get("key", record.evidence.get("block"))
    return process(record.role, record.pid) if block is None else block_subject(str(block))
