"""Requests of a fault's own clients, byte by byte as they are sent, and the thread that sends them."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class ClientTarget:
    """The server's properties that requests depend on."""

    port: int
    model: str
    max_model_len: int
    block_size: int
    records: Path
    """The file to which a fault appends each request of its own that is to be judged as any other."""


@dataclass(frozen=True)
class RawRequest:
    """One request of a fault."""

    name: str
    about: str
    build: Callable[[ClientTarget], bytes]
    answered: bool = True
    """Whether the client waits for the response."""


def http_request(
    body: bytes, *, method: str = "POST", path: str = COMPLETIONS, length: str | None = None, name: str = ""
) -> bytes:
    """Byte by byte; `name` is the request's ID where it has one."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"X-Request-Id: {name}\r\n" if name else ""
    head += f"Content-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


HOST = "127.0.0.1"
READ_BYTES = 64 << 10
MAX_RESPONSE_BYTES = 4096
"""Most bytes of a response that are kept."""
MAX_BODY_BYTES = 200
POLL_S = 0.2
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class RawResponse:
    """The response to one request."""

    form: str
    status: int | None
    """None: no HTTP response came before the connection ended or timed out."""
    ms: float
    body: str


class RequestSender:
    """Sends some requests, one after the other, in a thread."""

    def __init__(self, forms: Sequence[RawRequest], target: ClientTarget, timeout_s: float) -> None:
        """Waits for each response at most `timeout_s`, and for none after `stop`."""
        self._forms = forms
        self._target = target
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._answers: list[RawResponse] = []
        self._thread = threading.Thread(target=self._send, name="raw-requests", daemon=True)

    def start(self) -> None:
        """Start the thread, which sends the requests."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more and wait for no response."""
        self._stop.set()

    def over(self) -> bool:
        """Whether all requests have ended."""
        return not self._thread.is_alive()

    def answers(self) -> list[RawResponse]:
        """The responses received so far."""
        return list(self._answers)

    def _send(self) -> None:
        for form in self._forms:
            if self._stop.is_set():
                return
            self._answers.append(send_and_read(form, self._target, self._timeout_s, self._stop))


def send_and_read(
    form: RawRequest, target: ClientTarget, timeout_s: float, stop: threading.Event
) -> RawResponse:
    """Send one request and read its response."""
    began = time.monotonic()
    received = bytearray()
    # Refused, reset, or too slow: the received bytes show it.
    with suppress(OSError), socket.create_connection((HOST, target.port), timeout=timeout_s) as connection:
        # A server may have answered, and hung up, before it has read everything.
        with suppress(OSError):
            connection.sendall(form.build(target))
        if form.answered:
            _read(connection, received, began + timeout_s, stop)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    status = STATUS.match(head)
    return RawResponse(
        form=form.name,
        status=int(status[1]) if status else None,
        ms=round((time.monotonic() - began) * 1000, 3),
        body=body[:MAX_BODY_BYTES].decode("utf-8", "replace"),
    )


def _read(connection: socket.socket, received: bytearray, deadline: float, stop: threading.Event) -> None:
    """Until the connection ends, the deadline, or a stop."""
    connection.settimeout(POLL_S)
    while time.monotonic() < deadline and not stop.is_set():
        try:
            data = connection.recv(READ_BYTES)
        except TimeoutError:
            continue
        if not data:
            return
        received += data[: MAX_RESPONSE_BYTES - len(received)]
