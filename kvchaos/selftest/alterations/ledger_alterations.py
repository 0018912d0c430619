"""The ledgers of the chaos module."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec

from history.protocol.audit_records import Label, Violation, stored_balance
from history.protocol.evidence import as_stored
from history.reader import History
from history.records import LedgerRecord
from kvchaos.selftest.alterations.alteration import Alteration, with_server
from oracles import transfer_invariants
from oracles.findings import Rule


def _violated(name: str, history: History) -> History:
    last, where = history.ledger[-1], as_stored(Violation(key="00", job=1, block=1))
    line = msgspec.structs.replace(last, event="violation", rule=name, evidence=where)
    return replace(history, ledger=[*history.ledger, line])


def _never_ended(label: Label, history: History) -> History:
    """Something has been open in the last balances since long ago."""

    def opened(line: LedgerRecord) -> LedgerRecord:
        balance = line.balance
        if balance is None or label not in balance.accounts:
            return line
        account = msgspec.structs.replace(balance.accounts[label], open=1, since_ns=1, names=["x"])
        other = msgspec.structs.replace(balance, accounts={**balance.accounts, label: account})
        return msgspec.structs.replace(line, evidence=stored_balance(other))

    return replace(history, ledger=[opened(line) for line in history.ledger])


def _counted_only(history: History) -> History:
    """The last balances count a violation of which there is no line."""

    def counted(line: LedgerRecord) -> LedgerRecord:
        balance = line.balance
        if balance is None:
            return line
        other = msgspec.structs.replace(balance, violations=1)
        return msgspec.structs.replace(line, evidence=stored_balance(other))

    return replace(history, ledger=[counted(line) for line in history.ledger])


def _switched_off(history: History) -> History:
    return with_server(history, chaos=False, audit=False)


def _violations() -> tuple[Alteration, ...]:
    rules: dict[str, Rule] = {
        **transfer_invariants.RECORDED,
        "of-a-later-version": transfer_invariants.UNKNOWN_RULE,
    }
    return tuple(
        Alteration(rule, f"the ledger has a violation: {name}", partial(_violated, name))
        for name, rule in rules.items()
    )


ALTERATIONS = (
    *_violations(),
    *(
        Alteration(
            rule, f"one of the {transfer_invariants.ACCOUNTS[label]} never ends", partial(_never_ended, label)
        )
        for label, rule in transfer_invariants.NEVER_ENDED.items()
    ),
    Alteration(transfer_invariants.NOT_LISTED, "a violation is counted and not listed", _counted_only),
    Alteration(transfer_invariants.OFF, "a server without the chaos module has ledgers", _switched_off),
)
