"""Sending requests as they are, beside everything else, and what came back."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from chaos.outside.clients.forms import Form, Target

HOST = "127.0.0.1"
READ_BYTES = 64 << 10
MOST_BYTES = 4096
"""Of an answer that are kept."""
LONGEST_BODY = 200
LOOK_S = 0.2
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class Answer:
    """What a server said to one request."""

    form: str
    status: int | None
    """None: nothing that is HTTP came before the end of the connection, or of our patience."""
    ms: float
    body: str


class Sending:
    """Some requests, one after the other, in a thread of their own."""

    def __init__(self, forms: Sequence[Form], target: Target, patience_s: float) -> None:
        """No answer is waited for longer than `patience_s`, nor after `stop`."""
        self._forms = forms
        self._target = target
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._answers: list[Answer] = []
        self._thread = threading.Thread(target=self._send, name="wrong-requests", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more and wait for no answer."""
        self._stop.set()

    def over(self) -> bool:
        return not self._thread.is_alive()

    def answers(self) -> list[Answer]:
        """Those that have come so far."""
        return list(self._answers)

    def _send(self) -> None:
        for form in self._forms:
            if self._stop.is_set():
                return
            self._answers.append(ask(form, self._target, self._patience_s, self._stop))


def ask(form: Form, target: Target, patience_s: float, stop: threading.Event) -> Answer:
    """Send one request and read its answer."""
    began = time.monotonic()
    came = bytearray()
    # Refused, reset, or too slow: what has come tells.
    with suppress(OSError), socket.create_connection((HOST, target.port), timeout=patience_s) as connection:
        # A server may have answered, and hung up, before it has read everything.
        with suppress(OSError):
            connection.sendall(form.build(target))
        if form.answered:
            _read(connection, came, began + patience_s, stop)
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    status = STATUS.match(head)
    return Answer(
        form=form.name,
        status=int(status[1]) if status else None,
        ms=round((time.monotonic() - began) * 1000, 3),
        body=body[:LONGEST_BODY].decode("utf-8", "replace"),
    )


def _read(connection: socket.socket, came: bytearray, deadline: float, stop: threading.Event) -> None:
    """Until the connection ends, the deadline, or a stop."""
    connection.settimeout(LOOK_S)
    while time.monotonic() < deadline and not stop.is_set():
        try:
            data = connection.recv(READ_BYTES)
        except TimeoutError:
            continue
        if not data:
            return
        came += data[: MOST_BYTES - len(came)]
