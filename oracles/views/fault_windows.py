"""When a strike from outside was in force, and for whom, by the journal."""

from __future__ import annotations

from dataclasses import dataclass

from history.protocol.evidence import FaultReverted
from history.protocol.outside import OutsideFiring
from history.reader import History
from history.records import FaultRecord


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A strike from outside, from its begin to where its undoing began; ns since the epoch."""

    begin_ns: int
    end_ns: int | None
    """None: nobody saw the end."""
    requests: frozenset[str]
    """Whom it names, at its begin or its end."""


def fault_window(history: History, fired: FaultRecord) -> FaultWindow:
    """When a strike from outside was in force, and for whom."""
    firing, end = fired.firing, reverting_line(history, fired)
    outside = firing if isinstance(firing, OutsideFiring) else OutsideFiring()
    reverted = end.note if end is not None else None
    shown = end.reverted if end is not None else None
    later = shown.named if isinstance(shown, OutsideFiring) else ()
    return FaultWindow(
        begin_ns=fired.t_ns if outside.struck_ns is None else outside.struck_ns,
        end_ns=reverted.lifted_ns if isinstance(reverted, FaultReverted) else None,
        requests=frozenset((*outside.named, *later)),
    )


def reverting_line(history: History, fired: FaultRecord) -> FaultRecord | None:
    """The line that tells all that a strike from outside did; None when nobody saw its end."""
    for line in history.faults:
        of_strike = (line.fault, line.n, line.pid) == (fired.fault, fired.n, fired.pid)
        if of_strike and isinstance(line.note, FaultReverted):
            return line
    return None
