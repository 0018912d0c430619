"""Which blocks a fault damaged, and which requests read them or a result of them.

By the scheduler's provenance log. Damage spreads on the device, as long as its prefix cache is not reset, and
by what an affected request stores into the tier. Who computed a block for itself is not affected, even where
another request read a damaged block of the same key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from itertools import chain as chain_of
from typing import NamedTuple

from history.events import PrefixCacheReset
from history.protocol.audit_records import (
    BlocksStored,
    LoadCached,
    LogFull,
    LogOpened,
    PrefixReused,
    TierReset,
)
from history.protocol.evidence import ContentDamaged, CopyFired, LoadBlocksFailed, LoadFailed
from history.reader import History
from history.records import FaultRecord, ProvenanceRecord
from oracles.views.struck_requests import named

LogIndex = int
"""Index of a line in the provenance log of its scheduler."""


class Undecided(Exception):
    """The log does not tell which blocks a firing struck."""


class SchedulerLog:
    """The log of one scheduler, in order."""

    def __init__(self, lines: Sequence[ProvenanceRecord]) -> None:
        self.lines = lines
        self.times = list(accumulate((line.t_ns for line in lines), max))
        self.loads: dict[str, list[LogIndex]] = defaultdict(list)
        """Loads by request."""
        self.stores: dict[str, list[LogIndex]] = defaultdict(list)
        """Stores by request."""
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
        """Whether the log begins with the server's start and did not reach its limit."""
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
        """The given lines up to a moment, wall clock ns. Raises Undecided when none is left."""
        found = indexes[: bisect_right(indexes, bisect_right(self.times, t_ns) - 1)]
        if not found:
            raise Undecided
        return found


def logs_of(lines: Iterable[ProvenanceRecord]) -> list[SchedulerLog]:
    """The log of each scheduler, by its begin. In containers they can have the same process id."""
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


Seeds = Mapping[LogIndex, Collection[str]]
"""Keys of blocks that faults damaged, by the line at which they were read or stored."""


def may_differ(history: History, fired: Iterable[FaultRecord]) -> set[str] | None:
    """Ids of the requests whose answers these firings can have changed; None where the log does not tell."""
    logs = logs_of(history.provenance)
    struck: dict[int, dict[LogIndex, set[str]]] = defaultdict(lambda: defaultdict(set))
    try:
        for line in fired:
            log = log_at(logs, line.t_ns)
            for index, key in struck_blocks(line, logs[log]):
                struck[log][index].add(key)
    except Undecided:
        return None
    resets = [event.t_ns for event in history.events_of(PrefixCacheReset) if event.data.ok]
    names = {name for log, seeds in struck.items() for name in _affected(logs[log].lines, seeds, resets)}
    return {record.id for records in named(names, history.requests).values() for record in records}


def _affected(lines: Sequence[ProvenanceRecord], seeds: Seeds, resets: Sequence[int]) -> set[str]:
    """Names of the requests that read damage, or what came of it."""
    found: set[str] = set()
    spread = _Spread()
    ahead = sorted(resets, reverse=True)
    for index, line in enumerate(lines):
        while ahead and ahead[-1] <= line.t_ns:
            spread.reset_device()
            ahead.pop()
        match line.evidence:
            case PrefixReused() as reused:
                if spread.read(line.request, reused, seeds.get(index, ())) and line.request is not None:
                    found.add(line.request)
            case LoadCached():
                spread.cached(line.request)
            case BlocksStored(keys=keys):
                spread.store(line.request, keys, seeds.get(index, ()))
            case TierReset():
                spread.tier.clear()
    return found


class _Trail(NamedTuple):
    """Blocks that a request was given, the first of which that is damaged, and all behind it."""

    request: str | None
    chain: Sequence[str]
    first: int

    @property
    def damaged(self) -> Sequence[str]:
        return self.chain[self.first :]

    def without(self, key: str) -> _Trail:
        """What is left when the prefix cache has no block of this key: none behind it either.

        A request's blocks are free in reverse order, and those that are free first are replaced first.
        """
        if key not in self.chain:
            return self
        return self._replace(chain=self.chain[: self.chain.index(key)])


class _Spread:
    """Where damage is, while a log is gone through."""

    def __init__(self) -> None:
        self.tier: set[str] = set()
        """Keys whose blocks in the tier are damaged."""
        self._trails: dict[str | None, list[_Trail]] = {}
        """Trails on the device, in its prefix cache or soon there; by their first key."""
        self._loading: set[str | None] = set()
        """Requests that read damage, and whose loads are not in the prefix cache yet."""
        self._sound: dict[str | None, Collection[str]] = {}
        """Keys of the blocks before the first damaged one, for each request that read damage."""

    def reset_device(self) -> None:
        self._trails.clear()

    def cached(self, request: str | None) -> None:
        """The load of a request is in the prefix cache."""
        self._loading.discard(request)

    def read(self, request: str | None, reused: PrefixReused, damaged: Collection[str]) -> bool:
        """Whether a request is given a damaged block; then all that it computes is computed upon that."""
        chain, here = [*reused.device, *reused.loaded], len(reused.device)
        root = chain[0] if chain else reused.missed
        if root in self._trails and reused.missed is not None:
            self._missed(root, reused.missed)
        device = {key for trail in self._trails.get(root, ()) for key in trail.damaged}

        def bad(key: str) -> bool:
            return key in self.tier or key in damaged

        of_device = (at for at, key in enumerate(reused.device) if key in device)
        of_tier = (at for at, key in enumerate(reused.loaded, here) if bad(key))
        first = next(chain_of(of_device, of_tier), len(chain))
        if reused.tier and first >= here and any(map(bad, (*reused.tier, *reused.loaded))):
            first = here  # A chunk has several blocks, and the key of the last one.
        if first == len(chain):
            self._sound.pop(request, None)
            return False
        self._trails.setdefault(root, []).append(_Trail(request, chain, first))
        self._sound[request] = chain[:first]
        if reused.loaded:
            self._loading.add(request)
        return True

    def _missed(self, root: str | None, key: str) -> None:
        """The prefix cache has no block of this key."""
        trails = self._trails[root]
        cut = (trail if trail.request in self._loading else trail.without(key) for trail in trails)
        self._trails[root] = [trail for trail in cut if trail.damaged]

    def store(self, request: str | None, keys: Iterable[str], damaged: Collection[str]) -> None:
        """A store replaces what the tier had of these keys."""
        sound = self._sound.get(request)
        for key in keys:
            spoilt = sound is not None and key not in sound
            if spoilt or key in damaged or (request is None and self._sound):
                self.tier.add(key)
            else:
                self.tier.discard(key)
