"""Clients that all ask at once and all leave at once, as when the process they live in is killed."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.outside.clients.hearing import Hearing, NoCompletion

HOST = "127.0.0.1"
READ_BYTES = 64 << 10
LOOK_S = 0.05
"""How soon they notice that they are to leave early."""
ON_ITS_WAY = (0, errno.EINPROGRESS)


@dataclass
class Member:
    """One client with its one request."""

    name: str
    request: bytes
    prompt: Sequence[int]
    start_ns: int = 0
    start_mono_ns: int = 0
    end_us: int = 0
    sent: bool = False
    """Whether the server's machine has all of the request."""
    hearing: Hearing = field(default_factory=Hearing)
    failure: tuple[str, str] | None = None
    """Kind and message, where the request ended badly before its client left."""

    def since_start_us(self) -> int:
        return (time.monotonic_ns() - self.start_mono_ns) // 1000


class Crowd:
    """Some clients in one thread of their own. What becomes of them may be read once `over` says so."""

    def __init__(self, members: Sequence[Member], port: int, stay_s: float) -> None:
        """They leave after `stay_s`, or when they are told to."""
        self.members = members
        self.left_ns = 0
        """Wall clock time at which they left."""
        self._port = port
        self._stay_s = stay_s
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._live, name="crowd", daemon=True)

    def come(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Leave now. Safe to repeat."""
        self._leave.set()

    def over(self) -> bool:
        """Whether all have left."""
        return not self._thread.is_alive()

    def _live(self) -> None:
        deadline = time.monotonic() + self._stay_s
        with selectors.DefaultSelector() as selector:
            try:
                for member in self.members:
                    _call(member, self._port, selector)
                _ask(selector, deadline, self._leave)
            finally:
                self.left_ns = time.time_ns()
                _hang_up(selector)


@dataclass
class _Line:
    """A client's connection, until it is over."""

    member: Member
    connection: socket.socket
    unsent: bytearray

    def go_on(self, selector: selectors.BaseSelector) -> bool:
        """Send or read what can be; whether there is more to come."""
        try:
            if self.unsent:
                self._send(selector)
                return True
            return self._read()
        except BlockingIOError:
            return True
        except (OSError, NoCompletion) as error:
            self.member.failure = (type(error).__name__, str(error))
        return False

    def hang_up(self) -> None:
        self.member.end_us = self.member.since_start_us()
        self.connection.close()

    def _send(self, selector: selectors.BaseSelector) -> None:
        del self.unsent[: self.connection.send(self.unsent)]
        if not self.unsent:
            self.member.sent = True
            selector.modify(self.connection, selectors.EVENT_READ, self)

    def _read(self) -> bool:
        hearing = self.member.hearing
        data = self.connection.recv(READ_BYTES)
        if data:
            hearing.take(data, self.member.since_start_us())
        else:
            hearing.end()
        return bool(data) and not hearing.heard.whole


def _call(member: Member, port: int, selector: selectors.BaseSelector) -> None:
    """Begin to connect."""
    member.start_ns, member.start_mono_ns = time.time_ns(), time.monotonic_ns()
    connection = socket.socket()
    connection.setblocking(False)
    code = connection.connect_ex((HOST, port))
    if code in ON_ITS_WAY:
        line = _Line(member, connection, bytearray(member.request))
        selector.register(connection, selectors.EVENT_WRITE, line)
        return
    connection.close()
    refused = OSError(code, os.strerror(code))
    member.failure = (type(refused).__name__, str(refused))


def _ask(selector: selectors.BaseSelector, deadline: float, leave: threading.Event) -> None:
    """Until it is time to leave, or all have their answers."""
    while selector.get_map() and not leave.is_set() and (left_s := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(min(LOOK_S, left_s)):
            line: _Line = key.data
            if not line.go_on(selector):
                selector.unregister(line.connection)
                line.hang_up()


def _hang_up(selector: selectors.BaseSelector) -> None:
    """Close all connections in one go, as the kernel does for a process that is gone."""
    for key in list(selector.get_map().values()):
        key.data.hang_up()
