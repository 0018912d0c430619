"""Clients that connect at once and disconnect at once, as when their process is killed."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.outside.clients.completion_stream import CompletionStreamParser, NoCompletion

HOST = "127.0.0.1"
READ_BYTES = 64 << 10
POLL_S = 0.05
"""How soon they notice an early disconnect."""
CONNECT_IN_PROGRESS = (0, errno.EINPROGRESS)


@dataclass
class BurstClient:
    """One client with its one request."""

    name: str
    request: bytes
    prompt: Sequence[int]
    start_ns: int = 0
    start_mono_ns: int = 0
    end_us: int = 0
    sent: bool = False
    """Whether the kernel has accepted the whole request."""
    stream: CompletionStreamParser = field(default_factory=CompletionStreamParser)
    failure: tuple[str, str] | None = None
    """Kind and message, if the request failed before its client disconnected."""

    def since_start_us(self) -> int:
        return (time.monotonic_ns() - self.start_mono_ns) // 1000


class BurstClients:
    """Some clients in one thread. Read their results only when `over` is true."""

    def __init__(self, clients: Sequence[BurstClient], port: int, stay_s: float) -> None:
        """They disconnect after `stay_s`, or on `disconnect`."""
        self.clients = clients
        self.left_ns = 0
        """Wall clock time of the disconnect."""
        self._port = port
        self._stay_s = stay_s
        self._disconnect = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def disconnect(self) -> None:
        """Disconnect now. Idempotent."""
        self._disconnect.set()

    def over(self) -> bool:
        """Whether all have disconnected."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        deadline = time.monotonic() + self._stay_s
        with selectors.DefaultSelector() as selector:
            try:
                for client in self.clients:
                    _connect(client, self._port, selector)
                _exchange(selector, deadline, self._disconnect)
            finally:
                self.left_ns = time.time_ns()
                _close_all(selector)


@dataclass
class _Connection:
    """A client's connection, until it is over."""

    client: BurstClient
    sock: socket.socket
    unsent: bytearray

    def advance(self, selector: selectors.BaseSelector) -> bool:
        """Send or read without blocking. Returns whether more is expected."""
        try:
            if self.unsent:
                self._send(selector)
                return True
            return self._read()
        except BlockingIOError:
            return True
        except (OSError, NoCompletion) as error:
            self.client.failure = (type(error).__name__, str(error))
        return False

    def close(self) -> None:
        self.client.end_us = self.client.since_start_us()
        self.sock.close()

    def _send(self, selector: selectors.BaseSelector) -> None:
        del self.unsent[: self.sock.send(self.unsent)]
        if not self.unsent:
            self.client.sent = True
            selector.modify(self.sock, selectors.EVENT_READ, self)

    def _read(self) -> bool:
        stream = self.client.stream
        data = self.sock.recv(READ_BYTES)
        if data:
            stream.take(data, self.client.since_start_us())
        else:
            stream.end()
        return bool(data) and not stream.state.whole


def _connect(client: BurstClient, port: int, selector: selectors.BaseSelector) -> None:
    """Begin to connect."""
    client.start_ns, client.start_mono_ns = time.time_ns(), time.monotonic_ns()
    sock = socket.socket()
    sock.setblocking(False)
    code = sock.connect_ex((HOST, port))
    if code in CONNECT_IN_PROGRESS:
        connection = _Connection(client, sock, bytearray(client.request))
        selector.register(sock, selectors.EVENT_WRITE, connection)
        return
    sock.close()
    refused = OSError(code, os.strerror(code))
    client.failure = (type(refused).__name__, str(refused))


def _exchange(selector: selectors.BaseSelector, deadline: float, disconnect: threading.Event) -> None:
    """Send and read until the disconnect, or until all responses are complete."""
    while selector.get_map() and not disconnect.is_set() and (left_s := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(min(POLL_S, left_s)):
            connection: _Connection = key.data
            if not connection.advance(selector):
                selector.unregister(connection.sock)
                connection.close()


def _close_all(selector: selectors.BaseSelector) -> None:
    """Close all connections in one go, as the kernel does for a process that is gone."""
    for key in list(selector.get_map().values()):
        key.data.close()
