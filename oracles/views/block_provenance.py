"""Which blocks a firing struck, by the provenance log of the scheduler."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from history.protocol.audit_records import BlocksStored, LogFull, LogOpened, PrefixReused
from history.protocol.evidence import ContentDamaged, CopyFired, LoadBlocksFailed, LoadFailed
from history.records import FaultRecord, ProvenanceRecord

LogIndex = int
"""Of a line in the log of its scheduler."""


class Undecided(Exception):
    """The log does not tell which blocks a firing struck."""


class SchedulerLog:
    """The log of one scheduler, in order."""

    def __init__(self, lines: Sequence[ProvenanceRecord]) -> None:
        self.lines = lines
        self.times = list(accumulate((line.t_ns for line in lines), max))
        self.loads: dict[str, list[LogIndex]] = defaultdict(list)
        """By request."""
        self.stores: dict[str, list[LogIndex]] = defaultdict(list)
        """By request."""
        self.fills: dict[int, list[LogIndex]] = defaultdict(list)
        """Stores by chunk of the tier."""
        self._reused: dict[LogIndex, PrefixReused] = {}
        self._stored: dict[LogIndex, BlocksStored] = {}
        for index, line in enumerate(lines):
            match line.evidence:
                case PrefixReused(loaded=loaded) as reused if loaded and line.request is not None:
                    self.loads[line.request].append(index)
                    self._reused[index] = reused
                case BlocksStored(chunks=chunks) as stored:
                    self.stores[line.request or ""].append(index)
                    self._stored[index] = stored
                    for chunk in chunks:
                        self.fills[chunk].append(index)

    @property
    def complete(self) -> bool:
        opened = isinstance(self.lines[0].evidence, LogOpened)
        return opened and not isinstance(self.lines[-1].evidence, LogFull)

    def last_load(self, request: str | None, t_ns: int) -> tuple[LogIndex, PrefixReused]:
        """The load of a request that was begun last. Raises Undecided."""
        index = self.until(self.loads[request or ""], t_ns)[-1]
        return index, self._reused[index]

    def stored(self, index: LogIndex) -> Iterator[tuple[str, int]]:
        """Keys and chunks of a store."""
        return zip(self._stored[index].keys, self._stored[index].chunks, strict=False)

    def until(self, indexes: Sequence[LogIndex], t_ns: int) -> Sequence[LogIndex]:
        """Those of these places whose lines are not after a moment. Raises Undecided when none is left."""
        found = indexes[: bisect_right(indexes, bisect_right(self.times, t_ns) - 1)]
        if not found:
            raise Undecided
        return found


def logs_of(lines: Iterable[ProvenanceRecord]) -> list[SchedulerLog]:
    """Of each scheduler, by their begin. In containers they can have the same process id."""
    found: list[list[ProvenanceRecord]] = []
    of_pid: dict[int, list[ProvenanceRecord]] = {}
    for line in lines:
        if line.pid not in of_pid or isinstance(line.evidence, LogOpened):
            of_pid[line.pid] = []
            found.append(of_pid[line.pid])
        of_pid[line.pid].append(line)
    return sorted(map(SchedulerLog, found), key=lambda log: log.times[0])


def log_at(logs: Sequence[SchedulerLog], t_ns: int) -> int:
    """Number of the log at a moment. Raises Undecided, too, where two schedulers are alive at a time."""
    number = bisect_right([log.times[0] for log in logs], t_ns) - 1
    if number < 0 or not logs[number].complete:
        raise Undecided
    if any(log.times[-1] >= logs[number].times[0] for log in logs[:number]):
        raise Undecided
    return number


def struck_blocks(line: FaultRecord, log: SchedulerLog) -> Iterator[tuple[LogIndex, str]]:
    """The blocks that a firing struck. Raises Undecided."""
    match line.firing:
        case ContentDamaged(direction="load") as damage:
            yield from _read_to(line, log, damage.changed)
        case LoadBlocksFailed(blocks=blocks):
            yield from _read_to(line, log, blocks)
        case ContentDamaged(direction="store", chunks=chunks) if chunks:
            for chunk in chunks:
                index = log.until(log.fills[chunk], line.t_ns)[-1]
                yield from ((index, key) for key, other in log.stored(index) if other == chunk)
        case LoadFailed() | CopyFired(direction="load"):
            index, load = log.last_load(line.request, line.t_ns)
            yield from ((index, key) for key in load.loaded)
        case CopyFired(direction="store"):
            # Which of the request's stores it was the log does not tell.
            for index in log.until(log.stores[line.request or ""], line.t_ns):
                yield from ((index, key) for key, _ in log.stored(index))
        case _:
            raise Undecided


def _read_to(line: FaultRecord, log: SchedulerLog, blocks: Iterable[int]) -> Iterator[tuple[LogIndex, str]]:
    """What the last load of the request read to these blocks of the device."""
    index, load = log.last_load(line.request, line.t_ns)
    keys = dict(zip(load.blocks, load.loaded, strict=False))
    for block in blocks:
        if block not in keys:
            raise Undecided
        yield index, keys[block]
