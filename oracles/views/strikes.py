"""Whom the faults of a run struck, and since when: requests by name, and whoever shares a block with them.

A cached block stands for all tokens up to its end, so prompts that share any block share their first one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from history.reader import History
from history.records import FaultRecord, RequestRecord
from oracles.faults_fired import delay_ns, is_real
from oracles.views.incarnations import OUTSIDE
from oracles.views.struck_requests import by_name, names_of
from oracles.views.timeline import end_ns

NEVER = float("inf")


@dataclass(slots=True)
class Strikes:
    """When requests, and first blocks of prompts, were struck for the first time, ns."""

    named: int = 0
    nameless: int = 0
    """Strikes that do not tell a request, or one whose prompt is shorter than a block: from the first of
    them on anybody may have been struck."""
    first_ns: float = NEVER
    nameless_ns: float = NEVER
    requests: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, float] = field(default_factory=dict)

    def can_have_touched(self, record: RequestRecord) -> bool:
        """Whether this request, or a block that it may have read, was struck before its end."""
        since = min(
            self.nameless_ns,
            self.requests.get(record.id, NEVER),
            self.blocks.get(record.first_block or "", NEVER),
        )
        return since <= end_ns(record)


def struck_lines(history: History) -> list[FaultRecord]:
    """The firings that struck blocks."""
    return [
        line for line in history.faults if line.event == "fired" and line.role != OUTSIDE and is_real(line)
    ]


def strikes_of(history: History) -> Strikes:
    """From all strikes that changed something. One from outside touches no block."""
    fired = struck_lines(history)
    meant = by_name(fired, history.requests)
    found = Strikes()
    for line in fired:
        t_ns = line.t_ns - delay_ns(line)
        found.first_ns = min(found.first_ns, t_ns)
        struck = [meant[name] for name in names_of(line)]
        if struck and all(map(_are_known, struck)):
            found.named += 1
        else:
            found.nameless += 1
            found.nameless_ns = min(found.nameless_ns, t_ns)
        for record in (record for records in struck for record in records):
            if record.first_block is not None:
                _earliest(found.requests, record.id, t_ns)
                _earliest(found.blocks, record.first_block, t_ns)
    return found


def _are_known(records: list[RequestRecord]) -> bool:
    """Whether these are requests of ours whose prompts have a block that others may share."""
    return any(record.first_block is not None for record in records)


def _earliest(times: dict[str, float], key: str, t_ns: int) -> None:
    times[key] = min(t_ns, times.get(key, NEVER))
