"""Series that break a law of `oracles.laws`, in the last scrape of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import msgspec

from history import layout
from history.jsonl import read_lines
from history.metrics import MetricLog
from history.protocol import audit_records as ids
from history.protocol.audit_records import Label, stored_balance
from history.reader import History
from history.records import LedgerRecord, ScrapeLine
from kvchaos.selftest.alterations.metric_alterations import LOADED, changed_at_the_end
from oracles.findings import Alteration
from oracles.laws import client_laws, families, generic, transfers
from oracles.laws.law import CHOICES, E2E, MAX_TOKENS, SUCCESS, TTFT, Law
from oracles.laws.relations import LAWS

HUGE = 1e6
BYTES = (transfers.BYTES, *LOADED)
Alter = Callable[[History], History]


def _more(*metrics: str, by: float = HUGE, **labels: str) -> Alter:
    return lambda history: changed_at_the_end(history, metrics, lambda value: value + by, **labels)


def _becomes(metric: str, value: float) -> Alter:
    return lambda history: changed_at_the_end(history, (metric,), lambda _: value)


def _relations() -> Iterator[Alteration]:
    """The left side of each law that binds the newest releases is larger than it may be."""
    for law in LAWS:
        if law.binds(max(law.since, (0, 32))):
            yield Alteration(
                law.rule, f"{law.rule.law.removesuffix('.')}: no more", _exceed_left_side(law), (0, 32)
            )


def _exceed_left_side(law: Law) -> Alter:
    term = law.left[0]
    return lambda history: changed_at_the_end(
        history, (term.metric,), lambda value: value + HUGE, **term.labels
    )


def _vanished(history: History) -> History:
    """A series that every release has is missing from the last scrape on."""
    lines = list(read_lines(history.run_dir / layout.METRICS, ScrapeLine))
    last = max(number for number, line in enumerate(lines) if line.error is None)
    keys = [key for line in lines for key in line.new]
    index = next(number for number, key in enumerate(keys) if key.startswith(SUCCESS))
    changed = {index: value for index, value in lines[last].changed.items() if index != index}
    lines[last] = msgspec.structs.replace(lines[last], changed=changed, gone=[*lines[last].gone, index])
    return replace(history, metrics=MetricLog.from_lines(lines))


def _never_exported(family: str, history: History) -> History:
    """No scrape has it: its series carry other names."""
    lines = [
        msgspec.structs.replace(line, new=[key.replace(family, f"other_{family}", 1) for key in line.new])
        for line in read_lines(history.run_dir / layout.METRICS, ScrapeLine)
    ]
    return replace(history, metrics=MetricLog.from_lines(lines))


def _begun(label: Label, begun: int, history: History) -> History:
    """A history whose audit says that so many transfers of an account had begun."""

    def other(line: LedgerRecord) -> LedgerRecord:
        balance = line.balance
        if balance is None or label not in balance.accounts:
            return line
        account = msgspec.structs.replace(balance.accounts[label], begun=begun)
        changed = msgspec.structs.replace(balance, accounts={**balance.accounts, label: account})
        return msgspec.structs.replace(line, evidence=stored_balance(changed))

    return replace(history, ledger=[other(line) for line in history.ledger])


ALTERATIONS = (
    *_relations(),
    Alteration(generic.VANISHED, "a counter is missing in the last scrape", _vanished),
    Alteration(families.MISSING, "a metric family is not exported", partial(_never_exported, TTFT), (0, 18)),
    Alteration(
        generic.SUM_OUT_OF_BUCKETS,
        "the sum of a histogram grows and its count does not",
        _more("vllm:request_queue_time_seconds_sum"),
    ),
    Alteration(
        generic.GAUGE_RANGE,
        "more of the cache is used than there is",
        _becomes("vllm:kv_cache_usage_perc", 1.7),
    ),
    Alteration(
        generic.UNUSED, "a text model looks images up in its cache", _more("vllm:mm_cache_queries_total")
    ),
    Alteration(
        client_laws.BY_REASON,
        "requests end with stop at the server and with length at the clients",
        _more(SUCCESS, finished_reason="stop"),
    ),
    Alteration(
        client_laws.MAX_TOKENS_SUM, "more tokens are requested than clients did", _more(f"{MAX_TOKENS}_sum")
    ),
    Alteration(client_laws.SENT, "more requests are counted than clients sent", _more(f"{CHOICES}_count")),
    Alteration(
        client_laws.CHOICES_SUM, "more choices are counted than clients requested", _more(f"{CHOICES}_sum")
    ),
    Alteration(client_laws.LATENCY, "requests took longer than their clients waited", _more(f"{E2E}_sum")),
    Alteration(
        client_laws.FIRST_TOKEN_TIME, "first tokens came later than at the clients", _more(f"{TTFT}_sum")
    ),
    Alteration(
        client_laws.HTTP_ANSWERS, "more completions are answered than were sent", _more(client_laws.HTTP)
    ),
    Alteration(transfers.WHOLE_BLOCKS, "a load ends in mid-block", _more(*BYTES, by=1)),
    Alteration(
        transfers.MORE_BYTES, "bytes are loaded, and no load had begun", partial(_begun, ids.LOADS, 0)
    ),
    Alteration(
        transfers.MORE_COPIES,
        "transfers are counted, and no copy had begun",
        partial(_begun, ids.COPIES, 0),
    ),
    Alteration(
        transfers.FEWER_BYTES,
        "loads have ended whose bytes are not counted",
        partial(_begun, ids.LOADS, 100_000),
    ),
    Alteration(
        transfers.FEWER_COPIES, "copies have ended that are not counted", partial(_begun, ids.COPIES, 100_000)
    ),
)
