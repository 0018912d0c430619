"""One of the two TCP connections of a proxied connection, as an asyncio protocol."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import cast

from chaos.outside.network.impairments import PACE_S, SlowReading
from chaos.outside.network.pipe import Marker, Pipe

READ_BYTES = 64 << 10
NO_LINGER = struct.pack("ii", 1, 0)
"""With it a connection that is closed is reset."""


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
        """By the other side."""
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
        self._transport = cast(asyncio.Transport, transport)
        self._reads_for.source = self
        self._writes_for.sink = self
        self._writes_for.pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[: self._slow.chunk if self._slow else READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
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
        self._received(Marker.END)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._writes_for.sink is self:
            self._writes_for.sink = None
        self.gone, self.was_reset = True, exc is not None
        if self.was_reset and self._reads_for.source is self:
            self._received(Marker.RESET)
        self._lost(self)

    def pause_writing(self) -> None:
        if self._writes_for.source is not None:
            self._writes_for.source.pause("full")

    def resume_writing(self) -> None:
        if self._writes_for.source is not None:
            self._writes_for.source.resume("full")

    def pause(self, why: str) -> None:
        self._waits.add(why)
        self._transport.pause_reading()

    def resume(self, why: str) -> None:
        if why in self._waits:
            self._waits.remove(why)
            if not self._waits and not self._transport.is_closing():
                self._transport.resume_reading()

    def read_at_will(self) -> None:
        self._slow = None
        self.resume("slow")

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def end(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()

    def leave(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        reset(self._transport)


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection so that the other side sees it reset, and loses what it has not read."""
    handle: socket.socket = transport.get_extra_info("socket")
    if handle.fileno() >= 0:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    cast(asyncio.Transport, transport).abort()
