"""Whom the faults of a run struck, and since when: requests by name, and whoever shares a block with them.

A cached block stands for all tokens up to its end, so prompts that share any block share their first one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from history.reader import History
from history.records import FaultRecord, RequestRecord
from oracles.faults import held_ns, is_real
from oracles.timeline import end_ns

SERVER_NAME = re.compile(r"(?:\d+_)?cmpl-(?P<rest>.+)")
"""What the server calls a request of ours: cmpl-ID-0, maybe with a random end to it, or with the number of
one of several answers before it."""
REST = re.compile(r"-\d+(?:-\w+)?")
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


def strikes_of(history: History) -> Strikes:
    """From all strikes that changed something."""
    by_id = {record.id: record for record in history.requests}
    found = Strikes()
    for line in history.faults:
        if line.event != "fired" or not is_real(line):
            continue
        t_ns = line.t_ns - held_ns(line)
        found.first_ns = min(found.first_ns, t_ns)
        struck = [by_id.get(request_id(name, by_id) or "") for name in _names(line)]
        known = [record for record in struck if record is not None and record.first_block is not None]
        if known and len(known) == len(struck):
            found.named += 1
        else:
            found.nameless += 1
            found.nameless_ns = min(found.nameless_ns, t_ns)
        for record in known:
            _earliest(found.requests, record.id, t_ns)
            _earliest(found.blocks, str(record.first_block), t_ns)
    return found


def request_id(name: str, known: Collection[str]) -> str | None:
    """Which of the known requests the server means by a name; None when it is none of them."""
    match = SERVER_NAME.fullmatch(name)
    rest = match["rest"] if match else ""
    ends = [place for place, char in enumerate(rest) if char == "-"]
    return next((rest[:end] for end in ends if rest[:end] in known and REST.fullmatch(rest[end:])), None)


def _names(line: FaultRecord) -> Iterator[str]:
    """An empty one stands for a request that is not known."""
    several = line.evidence.get("requests")
    if isinstance(several, list):
        yield from map(str, several)
    else:
        yield line.request or ""


def _earliest(times: dict[str, float], key: str, t_ns: int) -> None:
    times[key] = min(t_ns, times.get(key, NEVER))
