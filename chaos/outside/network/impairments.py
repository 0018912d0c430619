"""What a network does to the connections that cross it. Each impairment counts what it really did."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from chaos.inside.trigger_decisions import draw
from chaos.outside.network.proxy_control import ProxyEffect
from history.protocol.outside import BytesDelayed, NetworkCut, SlowRead

UP = "up"
"""The direction from the client to the server."""
DOWN = "down"
PACE_S = 0.05
"""A slow reader takes a little so often."""
MOST_REPEATS = 6
MOST_NAMES = 10_000


@dataclass
class Counters:
    """What one injection has done so far to chunks of bytes, as they were read from a connection."""

    strike: str
    since: float
    """Monotonic, s."""
    waiting: int = 0
    passed: int = 0
    bytes: int = 0
    """Bytes of the chunks that have passed."""
    shortest_s: float = float("inf")
    longest_s: float = 0.0
    requests: dict[str, None] = field(default_factory=dict)
    """Whom it had to do with, in the order of their first time."""

    def meet(self, request: str | None) -> None:
        """Count a request as struck, up to `MOST_NAMES` by name."""
        if request and len(self.requests) < MOST_NAMES:
            self.requests.setdefault(request)

    def queue(self, request: str | None) -> None:
        """A run of bytes has to wait."""
        self.waiting += 1
        self.meet(request)

    def release(self, size: int, since: float, until: float) -> None:
        """Count a chunk of `size` bytes that waited from `since` to `until`, s."""
        seconds = until - max(since, self.since)
        self.waiting -= 1
        self.passed += 1
        self.bytes += size
        self.shortest_s = min(self.shortest_s, seconds)
        self.longest_s = max(self.longest_s, seconds)

    def evidence(self) -> BytesDelayed:
        """The counts so far, for the journal."""
        return BytesDelayed(
            waiting=self.waiting,
            passed=self.passed,
            bytes=self.bytes,
            shortest_ms=_ms(self.shortest_s if self.passed else 0.0),
            longest_ms=_ms(self.longest_s),
            requests=list(self.requests),
        )


class Crossing(Protocol):
    """A connection that crosses the network."""

    @property
    def open(self) -> str | None:
        """Id of the request in flight on this connection; None when there is none."""

    def cut(self) -> int:
        """Reset the connection; returns how many bytes were lost."""

    def queue(self, counters: Counters) -> None:
        """Count the chunks that wait in its pipes, for a stall."""


class Impairment:
    """Concerns all connections. By itself it does nothing."""

    refuses = False
    """Whether no connection can be made while it is in force."""
    stops = False
    """Whether no byte passes while it is in force."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters

    def begin(self, crossings: Collection[Crossing]) -> None:
        """Take in what crosses the network as it comes into force."""

    def delay_s(self, direction: str) -> float | None:
        """How much later the next run of bytes arrives; None when this does not concern it."""
        return None

    def has_effect(self) -> bool:
        """Whether it has taken effect."""
        return self.counters.passed > 0

    def evidence(self) -> ProxyEffect:
        """What the injection has done so far."""
        return self.counters.evidence()


class CutImpairment(Impairment):
    """All connections are reset, and new ones as they come."""

    refuses = True

    def __init__(self, counters: Counters) -> None:
        super().__init__(counters)
        self.connections = 0
        self.lost_bytes = 0
        self.refused = 0

    def begin(self, crossings: Collection[Crossing]) -> None:
        """Reset all open connections."""
        for crossing in list(crossings):
            self.connections += 1
            self.counters.meet(crossing.open)
            self.lost_bytes += crossing.cut()

    def has_effect(self) -> bool:
        """Whether a connection was reset or refused."""
        return self.connections + self.refused > 0

    def evidence(self) -> NetworkCut:
        """Connections that were reset and refused, with the requests on them."""
        return NetworkCut(
            connections=self.connections,
            refused=self.refused,
            lost_bytes=self.lost_bytes,
            requests=list(self.counters.requests),
        )


class TrafficStall(Impairment):
    """No byte passes."""

    stops = True

    def begin(self, crossings: Collection[Crossing]) -> None:
        """Count the bytes that already wait in the pipes."""
        for crossing in crossings:
            crossing.queue(self.counters)

    def delay_s(self, direction: str) -> float:
        """No delay of its own: the pipes stand still instead."""
        return 0.0

    def has_effect(self) -> bool:
        """Whether any byte had to wait."""
        return self.counters.waiting > 0


class AddedLatency(Impairment):
    """Every byte arrives later."""

    def __init__(self, counters: Counters, seed: int, up_ms: float, down_ms: float, jitter_ms: float) -> None:
        super().__init__(counters)
        self._seed = seed
        self._ms = {UP: up_ms, DOWN: down_ms}
        self._jitter_ms = jitter_ms
        self._count = 0

    def delay_s(self, direction: str) -> float:
        """Delay of the next chunk in this direction, seconds; the jitter is drawn from the seed."""
        number, self._count = self._count, self._count + 1
        share = draw(self._seed, self.counters.strike, "jitter", number) / 2**64
        return (self._ms[direction] + share * self._jitter_ms) / 1000

    def evidence(self) -> BytesDelayed:
        """The delayed bytes, with the round trip that was added."""
        return replace(self.counters.evidence(), round_trip_ms=sum(self._ms.values()))


class Loss(Impairment):
    """Some runs of bytes are lost and sent again as TCP does: after a time that doubles with each loss."""

    def __init__(self, counters: Counters, seed: int, share: float, again_ms: float) -> None:
        super().__init__(counters)
        self._seed = seed
        self._share = share
        self._again_s = again_ms / 1000
        self._count = 0

    def delay_s(self, direction: str) -> float | None:
        """Delay of the next chunk, seconds, if it is lost; None if it is not."""
        number, self._count = self._count, self._count + 1
        times = 0
        while times < MOST_REPEATS and self._is_lost(number, times):
            times += 1
        return self._again_s * (2**times - 1) if times else None

    def _is_lost(self, number: int, times: int) -> bool:
        chance = draw(self._seed, self.counters.strike, "loss", number, str(times))
        return chance < self._share * 2**64


class SlowReading(Impairment):
    """The answers to some requests are read slowly, so that the server cannot get rid of them."""

    def __init__(self, counters: Counters, requests: int, bytes_per_s: float) -> None:
        super().__init__(counters)
        self.bytes_per_s = bytes_per_s
        self._left = requests
        self._unread = 0
        self._unread_s = 0.0

    @property
    def chunk(self) -> int:
        """Bytes that are read at a time."""
        return max(1, int(self.bytes_per_s * PACE_S))

    def takes(self, request: str) -> bool:
        """Whether the answer to this request, which begins now, is read slowly."""
        if not request or not self._left:
            return False
        self._left -= 1
        self.counters.meet(request)
        return True

    def read(self, size: int) -> None:
        """Count bytes that were read from the server."""
        self.counters.bytes += size

    def paused(self, unread: int, seconds: float) -> None:
        """Nothing was read for so long, with so many bytes in the kernel's receive buffer."""
        if unread:
            self._unread = max(self._unread, unread)
            self._unread_s += seconds

    def has_effect(self) -> bool:
        """Whether the server had unread bytes at any time."""
        return self._unread > 0

    def evidence(self) -> SlowRead:
        """Bytes read and unread, with the requests."""
        return SlowRead(
            bytes=self.counters.bytes,
            unread_bytes=self._unread,
            unread_ms=_ms(self._unread_s),
            requests=list(self.counters.requests),
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
