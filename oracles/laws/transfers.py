"""The server's bytes and numbers of transfers against the books that the chaos module keeps."""

from __future__ import annotations

from typing import NamedTuple

from history.protocol import ledger as ids
from history.protocol.ledger import Balance, Label
from history.reader import History
from history.records import LedgerRecord
from oracles.findings import Findings
from oracles.inputs import LEDGER, METRICS
from oracles.laws.caches import DIRECTIONS
from oracles.rule import Rule
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
RULES = (WHOLE_BLOCKS, MORE_BYTES, MORE_COPIES)
ACCOUNTS: dict[str, Label] = {"load": ids.LOADS, "store": ids.STORES}


class Begun(NamedTuple):
    """What had begun by the last balance of the run, in its last life."""

    t_ns: int
    number: int


def compare(history: History, window: Window, found: Findings) -> None:
    """Note what was counted beyond what had begun. Only for a window that is the run."""
    server, token_bytes = history.plan.scenario.server, history.plan.kv_token_bytes
    if token_bytes is None or not server.offload:
        return
    _blocks(window, token_bytes * server.block_size, found)
    if window.phase is None and server.chaos:
        for verb, direction in DIRECTIONS.items():
            begun = _begun(history, window, "scheduler", ACCOUNTS[verb])
            factor = token_bytes * server.block_size
            _at_most(window, MORE_BYTES, BYTES, {"transfer_type": direction}, begun, factor, found)
        copies = _begun(history, window, "worker", ids.COPIES)
        _at_most(window, MORE_COPIES, NUMBER, {}, copies, 1, found)


def _blocks(window: Window, block_bytes: int, found: Findings) -> None:
    for verb, direction in DIRECTIONS.items():
        grown = window.growth(BYTES, transfer_type=direction)
        if grown is None:
            continue
        found.checked += 1
        if grown % block_bytes:
            text = f"{grown:g} bytes in {verb}s are no whole blocks of {block_bytes}"
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
        text = f"{' '.join((metric, *labels.values()))} is {counted:g}; {begun.number * factor} had begun"
        figures = {"counted": counted, "begun": begun.number * factor}
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
    return Begun(min(end.t_ns for end in known), sum(end.number for end in known))


def _ends(lines: list[LedgerRecord], first_ns: int | None, label: Label) -> Begun | None:
    last = lines[-1]
    count = _count(last.balance, label)
    before = [line for line in lines if first_ns is not None and line.t_ns <= first_ns]
    earlier = _count(before[-1].balance, label) if before else 0
    return None if count is None or earlier is None else Begun(last.t_ns, count - earlier)


def _count(balance: Balance | None, label: Label) -> int | None:
    account = None if balance is None else balance.accounts.get(label)
    return None if account is None else account.begun
