"""What runs of earlier versions wrote in another form, brought into the form of today as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from history import events
from history.events import typed
from history.protocol.audit_records import EARLIER_RULES
from history.protocol.evidence import EARLIER_NOTES, Armed, FaultReverted, Healed, HealReason, RefusalReason
from history.records import Event, Evidence, FaultRecord, LedgerRecord, Scalar

EARLIER_VALUES: dict[tuple[str, str, Scalar], str] = {
    (events.FaultsHealed.kind, "by", "the server's end"): "server-exit",
    (events.ServerStop.kind, "how", "term"): "SIGTERM",
}
"""Values of events, by kind, field and what earlier versions wrote."""
EARLIER_HEAL_REASONS: dict[str, HealReason] = {
    "healed by the conductor": "conductor",
    "lease ran out": "lease-expired",
    "schedule removed": "schedule-removed",
    "schedule refused": "schedule-refused",
}
EARLIER_REFUSALS: dict[str, RefusalReason] = {
    "dry run": "dry-run",
    "another fault struck": "other-fault",
    "healed before the end was told again": "healed-first",
    "this copy offers nothing to damage so": "nothing-to-damage",
    "no block is idle": "no-idle-block",
    "the strike before is still in force": "still-in-force",
}


def revised_event(line: Event) -> Event:
    """A line of events.jsonl with the values of today. Raises msgspec.ValidationError."""
    for (kind, name, value), today in EARLIER_VALUES.items():
        if line.kind == kind and line.data.get(name) == value:
            line = msgspec.structs.replace(line, data={**line.data, name: today})
    typed(line)
    return line


def revised_fault(line: FaultRecord) -> FaultRecord:
    """A line of a fault journal with the ids of today. Raises msgspec.ValidationError."""
    match line.event:
        case "fired":  # By far the most. They are as they were.
            assert line.firing
            return line
        case "note":
            line = _with(line, "about", EARLIER_NOTES)
        case "healed":
            line = _with(line, "reason", EARLIER_HEAL_REASONS)
        case "refused":
            line = _with_reason(line)
    _check(line)
    return line


def revised_ledger(line: LedgerRecord) -> LedgerRecord:
    """A line of a ledger with the rule's id of today. Raises msgspec.ValidationError."""
    rule = EARLIER_RULES.get(line.rule or "")
    line = line if rule is None else msgspec.structs.replace(line, rule=rule)
    _require(line.balance if line.event == "balance" else line.violation)
    return line


def _check(line: FaultRecord) -> None:
    """Raises msgspec.ValidationError where the evidence is none of the line's event, other than a firing."""
    match line.event:
        case "armed":
            msgspec.convert(line.evidence, Armed)
        case "healed":
            msgspec.convert(line.evidence, Healed)
        case "note":
            _require(line.reverted if isinstance(line.note, FaultReverted) else line.note)
        case "loaded":
            _require(line.loaded)
        case "refused":
            _require(line.refusal)


def _require(typed: object) -> None:
    """The typed form of a line, which raises when the line has none."""
    if typed is None:
        raise msgspec.ValidationError("the evidence is none of its event")


def _with(line: FaultRecord, name: str, ids: Mapping[str, str]) -> FaultRecord:
    earlier = line.evidence.get(name)
    if not isinstance(earlier, str) or earlier not in ids:
        return line
    return msgspec.structs.replace(line, evidence={**line.evidence, name: ids[earlier]})


def _with_reason(line: FaultRecord) -> FaultRecord:
    """Earlier versions wrote a sentence."""
    detail = line.evidence.get("reason")
    if not isinstance(detail, str) or detail in get_args(RefusalReason):
        return line
    return msgspec.structs.replace(line, evidence=_refusal(line, detail))


def _refusal(line: FaultRecord, detail: str) -> Evidence:
    reason = EARLIER_REFUSALS.get(detail)
    if reason is not None:
        return {"reason": reason}
    of_all: RefusalReason = "schedule-malformed" if line.fault is None else "unsupported"
    return {"reason": of_all if line.n is None else "target", "detail": detail}
