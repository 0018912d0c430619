"""Which blocks a firing struck, by the provenance log of the scheduler."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from history.protocol.evidence import ContentDamaged, CopyFired, LoadBlocksFailed, LoadFailed
from history.protocol.provenance import BlocksStored, LogFull, LogOpened, PrefixReused
from history.provenance import ProvenanceRecord
from history.records import FaultRecord

Place = int
"""Of a line in the log of its scheduler."""


class Undecided(Exception):
    """The log does not tell which blocks a firing struck."""


class SchedulerLog:
    """The log of one scheduler, in order."""

    def __init__(self, lines: Sequence[ProvenanceRecord]) -> None:
        self.lines = lines
        self.times = list(accumulate((line.t_ns for line in lines), max))
        self.loads: dict[str, list[Place]] = defaultdict(list)
        """By request."""
        self.stores: dict[str, list[Place]] = defaultdict(list)
        """By request."""
        self.fills: dict[int, list[Place]] = defaultdict(list)
        """Stores by chunk of the tier."""
        self._reused: dict[Place, PrefixReused] = {}
        self._stored: dict[Place, BlocksStored] = {}
        for place, line in enumerate(lines):
            match line.evidence:
                case PrefixReused(loaded=loaded) as reused if loaded and line.request is not None:
                    self.loads[line.request].append(place)
                    self._reused[place] = reused
                case BlocksStored(chunks=chunks) as stored:
                    self.stores[line.request or ""].append(place)
                    self._stored[place] = stored
                    for chunk in chunks:
                        self.fills[chunk].append(place)

    @property
    def complete(self) -> bool:
        opened = isinstance(self.lines[0].evidence, LogOpened)
        return opened and not isinstance(self.lines[-1].evidence, LogFull)

    def last_load(self, request: str | None, t_ns: int) -> tuple[Place, PrefixReused]:
        """The load of a request that was begun last. Raises Undecided."""
        place = self.until(self.loads[request or ""], t_ns)[-1]
        return place, self._reused[place]

    def stored(self, place: Place) -> Iterator[tuple[str, int]]:
        """Keys and chunks of a store."""
        return zip(self._stored[place].keys, self._stored[place].chunks, strict=False)

    def until(self, places: Sequence[Place], t_ns: int) -> Sequence[Place]:
        """Those of these places whose lines are not after a moment. Raises Undecided when none is left."""
        found = places[: bisect_right(places, bisect_right(self.times, t_ns) - 1)]
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


def log_at(lives: Sequence[SchedulerLog], t_ns: int) -> int:
    """Number of the log at a moment. Raises Undecided, too, where two schedulers are alive at a time."""
    number = bisect_right([log.times[0] for log in lives], t_ns) - 1
    if number < 0 or not lives[number].complete:
        raise Undecided
    if any(log.times[-1] >= lives[number].times[0] for log in lives[:number]):
        raise Undecided
    return number


def struck_blocks(line: FaultRecord, log: SchedulerLog) -> Iterator[tuple[Place, str]]:
    """The blocks that a firing struck. Raises Undecided."""
    match line.firing:
        case ContentDamaged(direction="load") as damage:
            yield from _read_to(line, log, damage.changed)
        case LoadBlocksFailed(blocks=blocks):
            yield from _read_to(line, log, blocks)
        case ContentDamaged(direction="store", chunks=chunks) if chunks:
            for chunk in chunks:
                place = log.until(log.fills[chunk], line.t_ns)[-1]
                yield from ((place, key) for key, other in log.stored(place) if other == chunk)
        case LoadFailed() | CopyFired(direction="load"):
            place, load = log.last_load(line.request, line.t_ns)
            yield from ((place, key) for key in load.loaded)
        case CopyFired(direction="store"):
            # Which of the request's stores it was the log does not tell.
            for place in log.until(log.stores[line.request or ""], line.t_ns):
                yield from ((place, key) for key, _ in log.stored(place))
        case _:
            raise Undecided


def _read_to(line: FaultRecord, log: SchedulerLog, blocks: Iterable[int]) -> Iterator[tuple[Place, str]]:
    """What the last load of the request read to these blocks of the device."""
    place, load = log.last_load(line.request, line.t_ns)
    keys = dict(zip(load.blocks, load.loaded, strict=False))
    for block in blocks:
        if block not in keys:
            raise Undecided
        yield place, keys[block]
