"""One direction of a proxied connection: a queue of chunks from its source to its sink."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from chaos.outside.network.impairments import Counters, Impairment

MAX_QUEUED_BYTES = 1 << 20
"""Bytes. A sender that is further ahead is made to wait, as TCP does."""


class Marker(Enum):
    """The end or reset of a stream, queued in order with its chunks."""

    END = "end"
    RESET = "reset"


@dataclass
class QueuedChunk:
    """A run of bytes, or a marker, as it was received. Times are the event loop's, s."""

    what: bytes | Marker
    since: float
    due: float
    by: list[Counters]
    """Counters of the impairments that delay it."""

    @property
    def size(self) -> int:
        return len(self.what) if isinstance(self.what, bytes) else 0

    def wait_for(self, counters: Counters, request: str | None) -> None:
        """Only bytes count."""
        if self.size:
            self.by.append(counters)
            counters.queue(request)


class PipeSource(Protocol):
    def pause(self, why: str) -> None:
        """Read nothing more for now."""

    def resume(self, why: str) -> None:
        """Remove this reason to read nothing."""


class PipeSink(Protocol):
    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def reset(self) -> None: ...


class Pipe:
    """Forwards chunks in order."""

    def __init__(
        self,
        direction: str,
        in_force: Sequence[Impairment],
        passed: Callable[[bytes | Marker], None],
    ) -> None:
        """`in_force` is the proxy's own list. `passed` is called with everything that is forwarded."""
        self.direction = direction
        self.source: PipeSource | None = None
        self.sink: PipeSink | None = None
        """None while the other side is not connected."""
        self._in_force = in_force
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[QueuedChunk] = deque()
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, what: bytes | Marker, name: str | None) -> None:
        """Queue received bytes or a marker of a request."""
        now = self._loop.time()
        late_s, by = 0.0, []
        for impairment in self._in_force:
            delay_s = impairment.delay_s(self.direction)
            if delay_s is not None:
                late_s += delay_s
                by.append(impairment.counters)
        chunk = QueuedChunk(what, now, now + late_s, [])
        for counters in by:
            chunk.wait_for(counters, name)
        self._chunks.append(chunk)
        self._queued_bytes += chunk.size
        self.pump()
        if self._queued_bytes > MAX_QUEUED_BYTES and self.source is not None:
            self.source.pause("delayed")

    def queue(self, counters: Counters, name: str | None) -> None:
        """Count the queued chunks as delayed by this impairment too."""
        for chunk in self._chunks:
            chunk.wait_for(counters, name)

    def pump(self) -> None:
        """Forward the chunks that are due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while self._chunks and self.sink is not None and not any(each.stops for each in self._in_force):
            chunk = self._chunks[0]
            if chunk.due > now:
                self._timer = self._loop.call_at(chunk.due, self.pump)
                return
            self._chunks.popleft()
            self._pass(chunk, self.sink, now)
        if self.source is not None and self._queued_bytes <= MAX_QUEUED_BYTES // 2:
            self.source.resume("delayed")

    def drop(self) -> int:
        """Discard the queued chunks; returns their bytes."""
        lost, self._queued_bytes = self._queued_bytes, 0
        self._chunks.clear()
        return lost

    def _pass(self, chunk: QueuedChunk, sink: PipeSink, now: float) -> None:
        self._queued_bytes -= chunk.size
        for counters in chunk.by:
            counters.release(chunk.size, chunk.since, now)
        match chunk.what:
            case Marker.END:
                sink.end()
            case Marker.RESET:
                sink.reset()
            case data:
                sink.write(data)
        self._passed(chunk.what)
