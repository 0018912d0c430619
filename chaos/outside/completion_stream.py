"""Clients that send a completion request each and disconnect at once; the parser of what they receive."""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from history.records import Usage

STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
HEAD_END = b"\r\n\r\n"
LINE_END = b"\r\n"
CHUNKED = b"transfer-encoding: chunked"
OK = 200
EVENT = b"data: "
LAST_EVENT = b"[DONE]"


class NoCompletion(Exception):
    """The response is no complete completion stream; the message describes it."""


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float] | None = None


class _Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_events = msgspec.json.Decoder(_Event)


@dataclass
class StreamState:
    """What has been received of a response. Times are microseconds from the start of the request."""

    status: int | None = None
    """None until the response head is complete."""
    chunk_us: list[int] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    usage: Usage | None = None
    finish_reason: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the response is complete."""
        return self.finish_reason is not None and self.usage is not None

    def add(self, event: _Event, at_us: int) -> None:
        """Add the tokens of one event, received `at_us` after the start."""
        for choice in event.choices:
            ids = choice.token_ids or []
            if ids:
                self.chunk_us.append(at_us)
                self.chunk_tokens.append(len(ids))
                self.token_ids += ids
            if choice.logprobs is not None:
                self.logprobs += choice.logprobs.token_logprobs or []
            self.finish_reason = choice.finish_reason or self.finish_reason
        if event.usage is not None:
            self.usage = Usage(
                prompt_tokens=event.usage.prompt_tokens, completion_tokens=event.usage.completion_tokens
            )


class CompletionStreamParser:
    """Splits one response into its events."""

    def __init__(self) -> None:
        self.state = StreamState()
        self._raw = bytearray()
        """Bytes that are not parsed yet."""
        self._body = bytearray()
        """Bytes of the body that are not split into lines yet."""
        self._left: int | None = None
        """Bytes that remain of a chunk; None if the body is not chunked."""

    def take(self, data: bytes, at_us: int) -> None:
        """Parse received bytes. Raises NoCompletion."""
        self._raw += data
        if self.state.status is None and not self._begin():
            return
        for line in self._lines():
            if line.startswith(EVENT) and line != EVENT + LAST_EVENT:
                self.state.add(_event(line.removeprefix(EVENT)), at_us)

    def end(self) -> None:
        """The connection has ended. Raises NoCompletion if the response is incomplete or missing."""
        if self.state.status not in (None, OK):
            raise NoCompletion(bytes(self._raw).decode("utf-8", "replace"))
        if not self.state.whole:
            raise NoCompletion(f"the connection ended after {len(self.state.token_ids)} tokens")

    def _begin(self) -> bool:
        head, found, rest = bytes(self._raw).partition(HEAD_END)
        status = STATUS.match(head)
        if not found:
            return False
        if status is None:
            raise NoCompletion("an answer that is no HTTP")
        self.state.status = int(status[1])
        self._left = 0 if CHUNKED in head.lower() else None
        self._raw = bytearray(rest)
        return True

    def _lines(self) -> Iterator[bytes]:
        """The complete lines of a completion's body; none for any other status."""
        if self.state.status != OK:
            return
        self._unpack()
        *lines, rest = bytes(self._body).split(b"\n")
        self._body = bytearray(rest)
        yield from (line.rstrip(b"\r") for line in lines)

    def _unpack(self) -> None:
        """Move the bytes of the body to `_body`."""
        if self._left is None:
            self._body += self._raw
            self._raw.clear()
        while self._left is not None and self._raw:
            if not self._left and not self._next_chunk():
                return
            part = self._raw[: self._left]
            del self._raw[: len(part)]
            self._body += part
            self._left -= len(part)

    def _next_chunk(self) -> bool:
        """Read the size of the next chunk, after the line end of the previous one."""
        start = len(LINE_END) if self._raw.startswith(LINE_END) else 0
        end = self._raw.find(LINE_END, start)
        if end < 0:
            return False
        try:
            self._left = int(self._raw[start:end], 16)
        except ValueError as error:
            raise NoCompletion("a chunk without a size") from error
        del self._raw[: end + len(LINE_END)]
        return bool(self._left)


def _event(data: bytes) -> _Event:
    try:
        event = _events.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise NoCompletion(f"an event that is none of a completion: {error}") from error
    if event.error is not None:
        raise NoCompletion(data.decode("utf-8", "replace"))
    return event


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
        """Time since the start of the request, microseconds."""
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
        """Start the thread, which connects and sends."""
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
