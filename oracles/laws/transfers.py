"""The server's bytes and numbers of transfers against the ledgers of the chaos module."""

from __future__ import annotations

from typing import NamedTuple

from history.protocol import audit_records as ids
from history.protocol.audit_records import AccountBalance, Balance, Label
from history.reader import History
from history.records import LedgerRecord
from oracles.findings import LEDGER, METRICS, Findings, Rule
from oracles.laws.caches import DIRECTIONS
from oracles.views.incarnations import incarnations
from oracles.views.windows import Window

BYTES = "vllm:kv_offload_total_bytes_total"
NUMBER = "vllm:kv_offload_size_count"
INCONCLUSIVE = (
    "a process has no ledger, the bytes of a token are not known, or there is no scrape before a balance"
)


def _rule(name: str, law: str) -> Rule:
    return Rule(f"accounting/{name}", law, "arithmetic", (METRICS, LEDGER), INCONCLUSIVE)


WHOLE_BLOCKS = _rule(
    "transfers-of-whole-blocks", "The bytes stored, and those loaded, are those of whole blocks."
)
MORE_BYTES = _rule(
    "bytes-exceed-blocks", "No more bytes are stored or loaded than the blocks have whose transfer had begun."
)
MORE_COPIES = _rule("transfers-exceed-copies", "No more transfers are counted than copies had begun.")
FEWER_BYTES = _rule(
    "bytes-below-blocks",
    "The bytes stored, and those loaded, are at least those of the blocks whose transfer has ended.",
)
FEWER_COPIES = _rule("transfers-below-copies", "Each copy that has ended is counted as a transfer.")
RULES = (WHOLE_BLOCKS, MORE_BYTES, MORE_COPIES, FEWER_BYTES, FEWER_COPIES)
ACCOUNTS: dict[str, Label] = {"load": ids.LOADS, "store": ids.STORES}


NOTHING = AccountBalance(begun=0, open=0, since_ns=None)
HIDES_COMPLETIONS = "completion_lost"
"""A fault by which the server never learns that a copy has ended, and so cannot count it."""


class Begun(NamedTuple):
    """What had begun by the last balance of the run, in its last life."""

    t_ns: int
    """Time of the oldest of the balances, one of each process, wall clock ns."""
    last_ns: int
    """Time of the youngest of these balances, wall clock ns."""
    number: int
    ended: int | None
    """None where no balance says what earlier runs had begun."""


def compare(history: History, window: Window, found: Findings) -> None:
    """Note what was counted beyond what had begun. Only for a window that is the run."""
    server, token_bytes = history.plan.scenario.server, history.plan.kv_token_bytes
    if token_bytes is None or not server.offload:
        return
    _blocks(window, token_bytes * server.block_size, found)
    if window.phase is not None or not server.keeps_ledger:
        return
    hidden = any(fault.kind == HIDES_COMPLETIONS for fault in history.plan.scenario.faults)
    for verb, direction in DIRECTIONS.items():
        begun = _begun(history, window, "scheduler", ACCOUNTS[verb])
        factor, labels = token_bytes * server.block_size, {"transfer_type": direction}
        _at_most(window, MORE_BYTES, BYTES, labels, begun, factor, found)
        if not hidden:
            _at_least(window, FEWER_BYTES, BYTES, labels, begun, factor, found)
    copies = _begun(history, window, "worker", ids.COPIES)
    _at_most(window, MORE_COPIES, NUMBER, {}, copies, 1, found)
    if not hidden:
        _at_least(window, FEWER_COPIES, NUMBER, {}, copies, 1, found)


def _blocks(window: Window, block_bytes: int, found: Findings) -> None:
    for verb, direction in DIRECTIONS.items():
        grown = window.growth(BYTES, transfer_type=direction)
        if grown is None:
            continue
        found.checked += 1
        if grown % block_bytes:
            text = f"{grown:g} bytes in {verb}s are no multiple of {block_bytes}, the bytes of a block"
            figures = {"bytes": grown, "block": block_bytes}
            window.violation(found, WHOLE_BLOCKS, text, figures, BYTES, transfer_type=direction)


def _at_most(
    window: Window,
    rule: Rule,
    metric: str,
    labels: dict[str, str],
    begun: Begun | None,
    factor: int,
    found: Findings,
) -> None:
    """The books may be older than the last scrape: what was counted by then must have begun by then."""
    scrape = None if begun is None else window.log.scrape_at(begun.t_ns)
    if begun is None or scrape is None or scrape > window.last or scrape < (window.first or 0):
        return
    counted = (
        window.log.total(scrape, metric, **labels)
        if window.first is None
        else window.log.increase(window.first, scrape, metric, **labels)
    )
    if counted is None:
        return
    found.checked += 1
    if counted > begun.number * factor:
        text = f"{' '.join((metric, *labels.values()))} is {counted:g}, but {begun.number * factor} had begun"
        figures = {"counted": counted, "begun": begun.number * factor}
        window.violation(found, rule, text, figures, metric, **labels)


def _at_least(
    window: Window,
    rule: Rule,
    metric: str,
    labels: dict[str, str],
    begun: Begun | None,
    factor: int,
    found: Findings,
) -> None:
    """What had ended by the last balance is counted by the last scrape, if that is younger."""
    if begun is None or begun.ended is None or window.log.times_ns[window.last] < begun.last_ns:
        return
    counted = window.growth(metric, **labels)
    if counted is None:
        return
    found.checked += 1
    if counted < begun.ended * factor:
        text = f"{' '.join((metric, *labels.values()))} is {counted:g}, but {begun.ended * factor} had ended"
        figures = {"counted": counted, "ended": begun.ended * factor}
        window.violation(found, rule, text, figures, metric, **labels)


def _begun(history: History, window: Window, role: str, label: Label) -> Begun | None:
    """Over all processes of a role in the last life of the server; None when one kept no books of it.

    Of a server that earlier runs have used, only what began after the first scrape, at least.
    """
    since_ns = max((life.start_ns for life in incarnations(history)[1:]), default=0)
    first_ns = None if window.first is None else window.log.times_ns[window.first]
    books: dict[int, list[LedgerRecord]] = {}
    for line in history.ledger:
        if line.event == "balance" and line.role == role and line.t_ns >= since_ns:
            books.setdefault(line.pid, []).append(line)
    ends = [_ends(lines, first_ns, label) for lines in books.values()]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    return Begun(
        min(end.t_ns for end in known),
        max(end.last_ns for end in known),
        sum(end.number for end in known),
        None if any(end.ended is None for end in known) else sum(end.ended or 0 for end in known),
    )


def _ends(lines: list[LedgerRecord], first_ns: int | None, label: Label) -> Begun | None:
    last = _account(lines[-1].balance, label)
    before = [line for line in lines if first_ns is not None and line.t_ns <= first_ns]
    earlier = _account(before[-1].balance, label) if before else NOTHING
    if last is None or earlier is None:
        return None
    number, t_ns = last.begun - earlier.begun, lines[-1].t_ns
    is_known = first_ns is None or (bool(before) and not earlier.open)
    return Begun(t_ns, t_ns, number, number - last.open if is_known else None)


def _account(balance: Balance | None, label: Label) -> AccountBalance | None:
    return None if balance is None else balance.accounts.get(label)
