"""When a strike from outside was in force, and for whom, by the journal."""

from __future__ import annotations

from dataclasses import dataclass

from history.reader import History
from history.records import FaultRecord

UNDONE = "undone"
"""What the journal notes when a strike from outside is over."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A strike from outside, from its begin to where its undoing began; ns since the epoch."""

    begin_ns: int
    end_ns: int | None
    """None: nobody saw the end."""
    requests: frozenset[str]
    """Whom it names, at its begin or its end."""


def stretch(history: History, fired: FaultRecord) -> Stretch:
    """When a strike from outside was in force, and for whom."""
    struck_ns = fired.evidence.get("struck_ns")
    end = at_the_end(history, fired)
    lifted_ns = end.evidence.get("lifted_ns") if end is not None else None
    named = (*_requests(fired), *(_requests(end) if end is not None else ()))
    return Stretch(
        begin_ns=struck_ns if isinstance(struck_ns, int) else fired.t_ns,
        end_ns=lifted_ns if isinstance(lifted_ns, int) else None,
        requests=frozenset(named),
    )


def at_the_end(history: History, fired: FaultRecord) -> FaultRecord | None:
    """The line that tells all that a strike from outside did; None when nobody saw its end."""
    for line in history.faults:
        of_strike = (line.fault, line.n, line.pid) == (fired.fault, fired.n, fired.pid)
        if of_strike and line.event == "note" and line.evidence.get("about") == UNDONE:
            return line
    return None


def _requests(line: FaultRecord) -> list[str]:
    named = line.evidence.get("requests")
    return [str(name) for name in named] if isinstance(named, list) else []
