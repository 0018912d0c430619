"""Whose answers a fault can have changed: who read what it damaged, or what was computed upon that.

By the scheduler's provenance log. Damage spreads on the device, as long as its prefix cache is not reset, and
by what an affected request stores into the tier. Who computed a block for itself is not affected, even where
another request read a damaged block of the same key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from history.events import PrefixCacheReset
from history.protocol.evidence import ContentDamaged, CopyFired, LoadBlocksFailed, LoadFailed
from history.protocol.provenance import BlocksStored, LoadCached, LogFull, LogOpened, PrefixReused, TierReset
from history.provenance import ProvenanceRecord
from history.reader import History
from history.records import FaultRecord
from oracles.struck import named

Place = int
"""Of a line in the log of its scheduler."""
Seeds = Mapping[Place, Collection[str]]
"""Keys of blocks that faults damaged, by the line at which they were read or stored."""


class Undecided(Exception):
    """The log does not tell which blocks a firing struck."""


def may_differ(history: History, fired: Iterable[FaultRecord]) -> set[str] | None:
    """Ids of the requests whose answers these firings can have changed; None where the log does not tell."""
    lives = _lives(history.provenance)
    struck: dict[int, dict[Place, set[str]]] = defaultdict(lambda: defaultdict(set))
    try:
        for line in fired:
            life = _life_at(lives, line.t_ns)
            for place, key in _struck(line, lives[life]):
                struck[life][place].add(key)
    except Undecided:
        return None
    resets = [event.t_ns for event in history.events_of(PrefixCacheReset) if event.data.ok]
    names = {name for life, seeds in struck.items() for name in _affected(lives[life].lines, seeds, resets)}
    return {record.id for records in named(names, history.requests).values() for record in records}


class _Life:
    """The log of one scheduler, in order."""

    def __init__(self, lines: Sequence[ProvenanceRecord]) -> None:
        self.lines = lines
        self.times = [line.t_ns for line in lines]
        self.loads: dict[str, list[Place]] = defaultdict(list)
        """By request."""
        self.stores: dict[str, list[Place]] = defaultdict(list)
        """By request."""
        self.fills: dict[int, list[Place]] = defaultdict(list)
        """Stores by chunk of the tier."""
        for place, line in enumerate(lines):
            match line.evidence:
                case PrefixReused(loaded=loaded) if loaded and line.request is not None:
                    self.loads[line.request].append(place)
                case BlocksStored(chunks=chunks):
                    self.stores[line.request or ""].append(place)
                    for chunk in chunks:
                        self.fills[chunk].append(place)

    @property
    def complete(self) -> bool:
        opened = isinstance(self.lines[0].evidence, LogOpened)
        return opened and not isinstance(self.lines[-1].evidence, LogFull)

    def until(self, places: Sequence[Place], t_ns: int) -> Sequence[Place]:
        """Those of these places whose lines are not after a moment. Raises Undecided when none is left."""
        found = places[: bisect_right(places, bisect_right(self.times, t_ns) - 1)]
        if not found:
            raise Undecided
        return found


def _lives(lines: Iterable[ProvenanceRecord]) -> list[_Life]:
    """Of each scheduler, by their begin. In containers they can have the same process id."""
    found: list[list[ProvenanceRecord]] = []
    of_pid: dict[int, list[ProvenanceRecord]] = {}
    for line in lines:
        if line.pid not in of_pid or isinstance(line.evidence, LogOpened):
            of_pid[line.pid] = []
            found.append(of_pid[line.pid])
        of_pid[line.pid].append(line)
    return sorted(map(_Life, found), key=lambda life: life.times[0])


def _life_at(lives: Sequence[_Life], t_ns: int) -> int:
    """Number of the life at a moment. Raises Undecided, too, where two schedulers are alive at a time."""
    number = bisect_right([life.times[0] for life in lives], t_ns) - 1
    if number < 0 or not lives[number].complete:
        raise Undecided
    if any(life.times[-1] >= lives[number].times[0] for life in lives[:number]):
        raise Undecided
    return number


def _struck(line: FaultRecord, life: _Life) -> Iterator[tuple[Place, str]]:
    """The blocks that a firing struck. Raises Undecided."""
    match line.firing:
        case ContentDamaged(direction="load") as damage:
            yield from _read_to(line, life, damage.changed)
        case LoadBlocksFailed(blocks=blocks):
            yield from _read_to(line, life, blocks)
        case ContentDamaged(direction="store", chunks=chunks) if chunks:
            for chunk in chunks:
                place = life.until(life.fills[chunk], line.t_ns)[-1]
                yield from ((place, key) for key, other in _stored(life, place) if other == chunk)
        case LoadFailed() | CopyFired(direction="load"):
            place = life.until(life.loads[line.request or ""], line.t_ns)[-1]
            yield from ((place, key) for key in _reused(life, place).loaded)
        case CopyFired(direction="store"):
            # Which of the request's stores it was the log does not tell.
            for place in life.until(life.stores[line.request or ""], line.t_ns):
                yield from ((place, key) for key, _ in _stored(life, place))
        case _:
            raise Undecided


def _read_to(line: FaultRecord, life: _Life, blocks: Iterable[int]) -> Iterator[tuple[Place, str]]:
    """What the last load of the request read to these blocks of the device."""
    place = life.until(life.loads[line.request or ""], line.t_ns)[-1]
    load = _reused(life, place)
    keys = dict(zip(load.blocks, load.loaded, strict=False))
    for block in blocks:
        if block not in keys:
            raise Undecided
        yield place, keys[block]


def _reused(life: _Life, place: Place) -> PrefixReused:
    evidence = life.lines[place].evidence
    assert isinstance(evidence, PrefixReused)
    return evidence


def _stored(life: _Life, place: Place) -> Iterator[tuple[str, int]]:
    evidence = life.lines[place].evidence
    assert isinstance(evidence, BlocksStored)
    return zip(evidence.keys, evidence.chunks, strict=False)


def _affected(lines: Sequence[ProvenanceRecord], seeds: Seeds, resets: Sequence[int]) -> set[str]:
    """Names of the requests that read damage, or what came of it."""
    found: set[str] = set()
    spread = _Spread()
    ahead = sorted(resets, reverse=True)
    for place, line in enumerate(lines):
        while ahead and ahead[-1] <= line.t_ns:
            spread.reset_device()
            ahead.pop()
        match line.evidence:
            case PrefixReused() as reused:
                if spread.read(line.request, reused, seeds.get(place, ())) and line.request is not None:
                    found.add(line.request)
            case LoadCached():
                spread.cached(line.request)
            case BlocksStored(keys=keys):
                spread.store(line.request, keys, seeds.get(place, ()))
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
        self._trails: list[_Trail] = []
        """On the device, in its prefix cache or to be."""
        self._loading: set[str | None] = set()
        """Requests that read damage, and whose loads are not in the prefix cache yet."""
        self._sound: dict[str | None, Collection[str]] = {}
        """Of each request that read damage: the keys of its blocks before the first that was damaged."""

    def reset_device(self) -> None:
        self._trails.clear()

    def cached(self, request: str | None) -> None:
        """The load of a request is in the prefix cache."""
        self._loading.discard(request)

    def read(self, request: str | None, reused: PrefixReused, damaged: Collection[str]) -> bool:
        """Whether a request is given a damaged block; then all that it computes is computed upon that."""
        if reused.missed is not None:
            self._missed(reused.missed)
        chain, here = [*reused.device, *reused.loaded], len(reused.device)
        device, bad = {key for trail in self._trails for key in trail.damaged}, self.tier.union(damaged)
        first = next(
            (at for at, key in enumerate(chain) if key in (device if at < here else bad)), len(chain)
        )
        if reused.tier and first >= here and not bad.isdisjoint([*reused.tier, *reused.loaded]):
            first = here  # A chunk has several blocks, and the key of the last one.
        if first == len(chain):
            self._sound.pop(request, None)
            return False
        self._trails.append(_Trail(request, chain, first))
        self._sound[request] = chain[:first]
        if reused.loaded:
            self._loading.add(request)
        return True

    def _missed(self, key: str) -> None:
        cut = (trail if trail.request in self._loading else trail.without(key) for trail in self._trails)
        self._trails = [trail for trail in cut if trail.damaged]

    def store(self, request: str | None, keys: Iterable[str], damaged: Collection[str]) -> None:
        """A store replaces what the tier had of these keys."""
        sound = self._sound.get(request)
        for key in keys:
            spoilt = sound is not None and key not in sound
            if spoilt or key in damaged or (request is None and self._sound):
                self.tier.add(key)
            else:
                self.tier.discard(key)
