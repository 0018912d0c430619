"""One direction of a proxied connection, a queue of chunks, and the TCP connection at each of its ends."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast

from chaos.outside.network.impairments import PACE_S, Counters, Impairment, SlowReading

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
        """Number of bytes; 0 for a marker."""
        return len(self.what) if isinstance(self.what, bytes) else 0

    def wait_for(self, counters: Counters, request: str | None) -> None:
        """Delay the chunk because of an impairment; only bytes count."""
        if self.size:
            self.by.append(counters)
            counters.queue(request)


class PipeSource(Protocol):
    """The end of a pipe that reads from a connection."""

    def pause(self, why: str) -> None:
        """Read nothing more for now."""

    def resume(self, why: str) -> None:
        """Remove this reason to read nothing."""


class PipeSink(Protocol):
    """The end of a pipe that writes to a connection."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def end(self) -> None:
        """Close this direction, after the bytes before it."""

    def reset(self) -> None:
        """Reset the connection."""


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


READ_BYTES = 64 << 10
NO_LINGER = struct.pack("ii", 1, 0)
"""Socket option: closing the connection resets it."""


class Endpoint(asyncio.BufferedProtocol):
    """Reads for one pipe and writes for the other."""

    def __init__(
        self,
        reads_for: Pipe,
        writes_for: Pipe,
        received: Callable[[bytes | Marker], None],
        lost: Callable[[Endpoint], None],
        slow: SlowReading | None = None,
    ) -> None:
        """`received` gets what was read; `lost` is called when the connection is gone."""
        self.gone = False
        self.was_reset = False
        """Whether the other side reset the connection."""
        self._reads_for = reads_for
        self._writes_for = writes_for
        self._received = received
        self._lost = lost
        self._slow = slow
        self._buffer = bytearray(READ_BYTES)
        self._waits: set[str] = set()
        self._next_read = 0.0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join both pipes when the connection is established."""
        self._transport = cast(asyncio.Transport, transport)
        self._reads_for.source = self
        self._writes_for.sink = self
        self._writes_for.pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer to read into, small for a slow reader."""
        return memoryview(self._buffer)[: self._slow.chunk if self._slow else READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass received bytes on, and pause a slow reader for as long as its rate requires."""
        self._received(bytes(self._buffer[:nbytes]))
        if self._slow is not None:
            self._slow.read(nbytes)
            self.pause("slow")
            now = self._loop.time()
            # A pause that took too long makes the next one shorter.
            self._next_read = max(self._next_read, now - PACE_S) + nbytes / self._slow.bytes_per_s
            self._loop.call_at(self._next_read, self._read_on, now)

    def _read_on(self, since: float) -> None:
        if self._slow is not None and not self._transport.is_closing():
            self._slow.paused(self._unread(), self._loop.time() - since)
        self.resume("slow")

    def _unread(self) -> int:
        """Bytes that wait in the kernel."""
        handle: socket.socket = self._transport.get_extra_info("socket")
        answer = fcntl.ioctl(handle.fileno(), termios.FIONREAD, struct.pack("i", 0))
        waiting: int = struct.unpack("i", answer)[0]
        return waiting

    def eof_received(self) -> bool:
        """Pass the end of the stream on; keep the other direction open."""
        self._received(Marker.END)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave both pipes, and pass a reset on."""
        if self._writes_for.sink is self:
            self._writes_for.sink = None
        self.gone, self.was_reset = True, exc is not None
        if self.was_reset and self._reads_for.source is self:
            self._received(Marker.RESET)
        self._lost(self)

    def pause_writing(self) -> None:
        """Pause the source while the kernel takes no more bytes."""
        if self._writes_for.source is not None:
            self._writes_for.source.pause("full")

    def resume_writing(self) -> None:
        """Resume the source."""
        if self._writes_for.source is not None:
            self._writes_for.source.resume("full")

    def pause(self, why: str) -> None:
        """Stop reading for a reason; several reasons may hold at a time."""
        self._waits.add(why)
        self._transport.pause_reading()

    def resume(self, why: str) -> None:
        """Drop a reason; read again when none is left."""
        if why in self._waits:
            self._waits.remove(why)
            if not self._waits and not self._transport.is_closing():
                self._transport.resume_reading()

    def read_at_will(self) -> None:
        """End slow reading."""
        self._slow = None
        self.resume("slow")

    def write(self, data: bytes) -> None:
        """Send bytes to this connection."""
        self._transport.write(data)

    def end(self) -> None:
        """Close the sending direction of this connection."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def leave(self) -> None:
        """Close this connection after its last bytes."""
        self._transport.close()

    def reset(self) -> None:
        """Reset this connection."""
        reset(self._transport)


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection so that the other side sees it reset, and loses what it has not read."""
    handle: socket.socket = transport.get_extra_info("socket")
    if handle.fileno() >= 0:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    cast(asyncio.Transport, transport).abort()
