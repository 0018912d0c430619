"""Which requests, and which first blocks of prompts, were struck by a fault, since when and by which kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from history.protocol.evidence import ContentDamaged, CopyDelayed, CopyFired, LoadBlocksFailed, LoadFailed
from history.reader import History, per_history
from history.records import FaultRecord, RequestRecord
from history.verdict import Finding
from oracles.faults_fired import delay_ns, is_real
from oracles.views.incarnations import OUTSIDE, incarnations
from oracles.views.struck_requests import by_name, names_of
from oracles.views.timeline import end_ns

NEVER = float("inf")
LOST_CONTENT = (ContentDamaged, LoadBlocksFailed, LoadFailed, CopyFired)


@dataclass(slots=True)
class Strikes:
    """First times, ns, at which requests, and first blocks of prompts, were struck.

    A cached block stands for all tokens up to its end, so prompts that share any block share their first one.
    """

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
        return self.nameless_ns <= end_ns(record) or self.has_struck(record)

    def has_struck(self, record: RequestRecord) -> bool:
        """The same by the strikes that name a request."""
        since = min(
            self.requests.get(record.id, NEVER),
            self.blocks.get(record.first_block or "", NEVER),
        )
        return since <= end_ns(record)


def struck_lines(history: History) -> list[FaultRecord]:
    """The firings that struck blocks. Those from outside touch no block."""
    return [
        line for line in history.faults if line.event == "fired" and line.role != OUTSIDE and is_real(line)
    ]


def strikes_of(history: History, fired: Sequence[FaultRecord]) -> Strikes:
    """The strikes of some firings that struck blocks."""
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


@per_history
def _lost_content(history: History) -> Mapping[tuple[int, str], Strikes]:
    """Strikes on the content of blocks, by life of the server and kind of fault."""
    lines: dict[tuple[int, str], list[FaultRecord]] = defaultdict(list)
    for line in struck_lines(history):
        if line.kind is not None and _loses_content(line):
            lines[_life_at(history, line.t_ns), line.kind].append(line)
    return {key: strikes_of(history, fired) for key, fired in lines.items()}


def _loses_content(line: FaultRecord) -> bool:
    """Whether blocks were damaged, or a copy failed, was lost or was reported wrongly: not only late."""
    return isinstance(line.firing, LOST_CONTENT) and not isinstance(line.firing, CopyDelayed)


def _life_at(history: History, t_ns: int) -> int:
    """How many lives of the server had begun: blocks do not outlive it."""
    return sum(life.start_ns <= t_ns for life in incarnations(history))


def kinds_before(history: History, findings: Iterable[Finding]) -> list[str]:
    """Kinds of the faults that struck the content of blocks before all of these findings, sorted by name.

    A finding is about a request. It counts if the fault struck this request, or one with its first block, in
    the same life of the server.
    """
    requests = {finding.request for finding in findings}
    records = [record for record in history.requests if record.id in requests]
    kinds = [
        {
            kind
            for (life, kind), strikes in _lost_content(history).items()
            if life == _life_at(history, record.start_ns) and strikes.has_struck(record)
        }
        for record in records
    ]
    return sorted(set.intersection(*kinds)) if kinds else []
