"""The ledgers of the chaos module."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec

from history.reader import History
from history.records import LedgerRecord
from kvchaos.sight.alterations.alteration import Alteration, with_server
from oracles import ledger
from oracles.rule import Rule


def _violated(name: str, history: History) -> History:
    last = history.ledger[-1]
    line = msgspec.structs.replace(
        last, event="violation", rule=name, evidence={"key": "00", "job": 1, "block": 1}
    )
    return replace(history, ledger=[*history.ledger, line])


def _never_ended(account: str, history: History) -> History:
    """Something has been open in the last balances since long ago."""

    def opened(line: LedgerRecord) -> LedgerRecord:
        if line.event != "balance" or f"{account}_begun" not in line.evidence:
            return line
        more = {f"{account}_open": 1, f"{account}_since_ns": 1, f"{account}_names": ["x"]}
        return msgspec.structs.replace(line, evidence={**line.evidence, **more})

    return replace(history, ledger=[opened(line) for line in history.ledger])


def _switched_off(history: History) -> History:
    return with_server(history, chaos=False, audit=False)


def _violations() -> tuple[Alteration, ...]:
    rules: dict[str, Rule] = {**ledger.BY_NAME, "of-a-later-version": ledger.UNKNOWN_RULE}
    return tuple(
        Alteration(rule, f"the ledger has a violation: {name}", partial(_violated, name))
        for name, rule in rules.items()
    )


ALTERATIONS = (
    *_violations(),
    *(
        Alteration(rule, f"one of the {ledger.ACCOUNTS[account]} never ends", partial(_never_ended, account))
        for account, rule in ledger.NEVER_ENDED.items()
    ),
    Alteration(ledger.OFF, "a server without the chaos module has ledgers", _switched_off),
)
