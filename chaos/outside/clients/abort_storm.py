"""The fault `abort_storm`: many clients send a request each and disconnect at once, as when their process is
killed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import selectors
import socket
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.outside.clients.completion_stream import CompletionStreamParser, NoCompletion
from chaos.outside.clients.malformed_requests import ClientTarget, http_request
from chaos.outside.injector import ActiveFault, DueInjection, InjectionRefused
from history.jsonl import LineWriter
from history.protocol.outside import AbortStorm, ClientsLeft
from history.records import ABANDONED, CROWD, Outcome, RequestError, RequestRecord

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


LONGEST_MESSAGE = 500


class AbortStormInjector:
    """Starts abort storms on one server."""

    kinds = ("abort_storm",)

    def __init__(self, target: ClientTarget, block_size: int, records: Path) -> None:
        """`records`: the file to which each request is appended when its client has disconnected."""
        self._target = target
        self._block_size = block_size
        self._records = records

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        return _Storm(injection, self._target, self._block_size, self._records)


class _Storm:
    """One storm, from its connections to their end."""

    def __init__(self, injection: DueInjection, target: ClientTarget, block_size: int, records: Path) -> None:
        self._answer_tokens = int(injection.params["max_tokens"])
        self._longest = int(injection.params["prompt_tokens"]) + self._answer_tokens
        self._context = target.max_model_len
        self._block_size = block_size
        self._records = records
        self._evidence: AbortStorm | None = None
        clients = [_client(injection, number, target) for number in range(int(injection.params["clients"]))]
        self._burst = BurstClients(clients, target.port, float(injection.params["duration_s"]))

    def apply(self) -> None:
        if self._longest > self._context:
            raise InjectionRefused(
                f"{self._longest} tokens of prompt and answer, the model takes {self._context}"
            )
        self._burst.start()

    def verify(self) -> AbortStorm | None:
        """What all clients had received when they disconnected."""
        if self._evidence is None and self._burst.over():
            self._evidence = self._collect_evidence()
        return self._evidence

    def revert(self) -> None:
        self._burst.disconnect()

    def reverted(self) -> ClientsLeft | None:
        """Only after the proof, which has all the evidence."""
        return ClientsLeft(clients=len(self._burst.clients)) if self._evidence is not None else None

    def _collect_evidence(self) -> AbortStorm:
        # All of them, unless a signal came in between.
        clients = [client for client in self._burst.clients if client.start_ns]
        with LineWriter(self._records) as file:
            for client in clients:
                file.write(_record(client, self._answer_tokens, self._block_size))
        states = [client.stream.state for client in clients]
        return AbortStorm(
            clients=len(clients),
            sent=sum(client.sent for client in clients),
            begun=sum(bool(state.token_ids) for state in states),
            answered=sum(state.whole for state in states),
            left_ns=self._burst.left_ns,
            requests=[client.name for client in clients],
        )


def _client(injection: DueInjection, number: int, target: ClientTarget) -> BurstClient:
    """A client with a unique prompt."""
    name = f"{CROWD}-{injection.fault}-{injection.n}-{number}"
    rng = random.Random(injection.draw(f"prompt {number}"))
    # A byte is a token that any byte-level vocabulary knows.
    prompt = list(rng.randbytes(int(injection.params["prompt_tokens"])))
    body: dict[str, Any] = {
        "model": target.model,
        "prompt": prompt,
        "max_tokens": int(injection.params["max_tokens"]),
        "temperature": 0,
        "logprobs": 1,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return BurstClient(name, http_request(json.dumps(body).encode(), name=name), prompt)


def _record(client: BurstClient, max_tokens: int, block_size: int) -> RequestRecord:
    """The same record as of any load-test request."""
    state = client.stream.state
    outcome, error = _end(client)
    return RequestRecord(
        id=client.name,
        prompt_id=client.name,
        phase=CROWD,
        worker=0,
        prompt_tokens=len(client.prompt),
        max_tokens=max_tokens,
        scheduled_ns=client.start_ns,
        start_ns=client.start_ns,
        start_mono_ns=client.start_mono_ns,
        end_us=client.end_us,
        first_us=state.chunk_us[0] if state.chunk_us else None,
        chunk_us=state.chunk_us,
        chunk_tokens=state.chunk_tokens,
        token_ids=state.token_ids,
        logprobs=state.logprobs,
        usage=state.usage,
        finish_reason=state.finish_reason,
        status=state.status,
        outcome=outcome,
        error=error,
        first_block=_first_block(client.prompt[:block_size], block_size),
    )


def _end(client: BurstClient) -> tuple[Outcome, RequestError | None]:
    state = client.stream.state
    if client.failure is not None:
        kind, message = client.failure
        return "error", RequestError(kind=kind, status=state.status, message=message[:LONGEST_MESSAGE])
    if state.whole:
        return "ok", None
    what = f"after {len(state.token_ids)} tokens" if client.sent else "before the request was sent whole"
    return "aborted", RequestError(kind=ABANDONED, status=state.status, message=f"left on purpose {what}")


def _first_block(tokens: Sequence[int], size: int) -> str | None:
    """The same hash as load-test requests record."""
    if len(tokens) < size:
        return None
    return hashlib.blake2b(array("q", tokens).tobytes(), digest_size=6).hexdigest()
