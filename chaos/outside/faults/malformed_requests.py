"""The faults `malformed_request` and `oversized_request`: clients send requests that no server can serve.

Their forms, byte by byte as they are sent; the thread that sends them and reads the responses; the kinds.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from chaos.inside.fault_kind import CONFORMING, Parameter
from chaos.outside.injector import CLIENT, EVERYWHERE, TRIGGER_ON, DueInjection, OutsideKind, duration_s
from history.fired_fault import Doubt, FiredFault
from history.protocol.outside import NO_STATUS, RequestsSent, WrongRequestsSent
from history.protocol.schedule import Value

COMPLETIONS = "/v1/completions"
HUGE_TOKENS = 1_000_000
HUGE_BYTES = 32 << 20
DEEP = 100_000
MANY = 100
NO_TOKEN = 2**31 - 1


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
class MalformedRequest:
    """One form of a malformed or oversized request."""

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


def _completion(target: ClientTarget, **changed: object) -> bytes:
    """A valid request except for `changed`; None omits a parameter."""
    parameters: dict[str, object] = {"model": target.model, "prompt": [1, 2, 3], "max_tokens": 2, **changed}
    return json.dumps({name: value for name, value in parameters.items() if value is not None}).encode()


def _with(**changed: Value | list[int] | None) -> Callable[[ClientTarget], bytes]:
    return lambda target: http_request(_completion(target, **changed))


def _of(body: bytes) -> Callable[[ClientTarget], bytes]:
    return lambda target: http_request(body)


MALFORMED = (
    MalformedRequest("no_http", "bytes that are no HTTP", lambda target: b"this is no HTTP\r\n\r\n"),
    MalformedRequest(
        "no_length", "a length that is no number", lambda target: http_request(b"{}", length="many")
    ),
    MalformedRequest(
        "no_path", "a path that nothing is served at", lambda target: http_request(b"{}", path="/v1/nothing")
    ),
    MalformedRequest(
        "no_method", "a method that is not taken", lambda target: http_request(b"{}", method="DELETE")
    ),
    MalformedRequest("no_utf8", "a body that is no text", _of(b"\xff\xfe{")),
    MalformedRequest("no_json", "a body that breaks off", _of(b'{"model": "tiny", "prompt": ')),
    MalformedRequest("null", "a body that is null", _of(b"null")),
    MalformedRequest("list", "a body that is a list", _of(b"[1]")),
    MalformedRequest("no_model", "a model that is not there", _with(model="nobody")),
    MalformedRequest("no_prompt", "no prompt", _with(prompt=None)),
    MalformedRequest("empty_prompt", "a prompt without a token", _with(prompt=[])),
    MalformedRequest("no_token", "a token that the vocabulary does not have", _with(prompt=[NO_TOKEN])),
    MalformedRequest("no_number", "a number of tokens that is a word", _with(max_tokens="many")),
    MalformedRequest("negative", "a negative number of tokens", _with(max_tokens=-1)),
    MalformedRequest(
        "cut_short",
        "a body that ends before its length, and a client that leaves",
        lambda target: http_request(b'{"model": ', length="1000"),
        answered=False,
    ),
)

OVERSIZED = (
    MalformedRequest(
        "long_prompt",
        "a prompt one token longer than the model takes",
        lambda target: http_request(_completion(target, prompt=[1] * (target.max_model_len + 1))),
    ),
    MalformedRequest(
        "long_answer",
        "an answer one token longer than the model gives",
        lambda target: http_request(_completion(target, max_tokens=target.max_model_len + 1)),
    ),
    MalformedRequest("huge_prompt", f"a prompt of {HUGE_TOKENS} tokens", _with(prompt=[1] * HUGE_TOKENS)),
    MalformedRequest(
        "huge_text", f"a prompt of {HUGE_BYTES >> 20} MiB of text", _with(prompt="x" * HUGE_BYTES)
    ),
    MalformedRequest(
        "many_prompts",
        f"{MANY} prompts, each a token too long",
        lambda target: http_request(_completion(target, prompt=[[1] * (target.max_model_len + 1)] * MANY)),
    ),
    MalformedRequest("many_logprobs", "more logprobs than are allowed", _with(logprobs=HUGE_TOKENS)),
    MalformedRequest("deep", f"lists {DEEP} deep", _of(b'{"prompt": ' + b"[" * DEEP + b"]" * DEEP + b"}")),
)

EACH = "each"
"""All forms of a kind, one after the other."""


def chosen(forms: tuple[MalformedRequest, ...], name: Value) -> tuple[MalformedRequest, ...]:
    """The forms with this name; all of them for `each`."""
    return tuple(form for form in forms if name in (EACH, form.name))


HOST = "127.0.0.1"
READ_BYTES = 64 << 10
MAX_RESPONSE_BYTES = 4096
"""Of an answer that are kept."""
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

    def __init__(self, forms: Sequence[MalformedRequest], target: ClientTarget, timeout_s: float) -> None:
        """Waits for each response at most `timeout_s`, and for none after `stop`."""
        self._forms = forms
        self._target = target
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._answers: list[RawResponse] = []
        self._thread = threading.Thread(target=self._send, name="wrong-requests", daemon=True)

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
    form: MalformedRequest, target: ClientTarget, timeout_s: float, stop: threading.Event
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


class _MalformedRequests:
    """One injection: all its requests, from the first to the last response."""

    def __init__(
        self, forms: tuple[MalformedRequest, ...], injection: DueInjection, target: ClientTarget
    ) -> None:
        sent, wait_s = chosen(forms, injection.params["form"]), float(injection.params["duration_s"])
        self._sender = RequestSender(sent, target, wait_s)

    def apply(self) -> None:
        self._sender.start()

    def verify(self) -> WrongRequestsSent | None:
        """The responses to all of them."""
        return self._evidence() if self._sender.over() else None

    def revert(self) -> None:
        self._sender.stop()

    def reverted(self) -> RequestsSent | None:
        return RequestsSent(requests=len(self._sender.answers())) if self._sender.over() else None

    def _evidence(self) -> WrongRequestsSent:
        answers = self._sender.answers()
        return WrongRequestsSent(
            forms=[answer.form for answer in answers],
            statuses=[answer.status or NO_STATUS for answer in answers],
            ms=[round(answer.ms) for answer in answers],
            bodies=[answer.body for answer in answers],
        )


def refused_status(status: int) -> bool:
    """Whether a status says that the request cannot be served."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _refused(case: FiredFault) -> Doubt | None:
    """The server refused requests that cannot be served, by its own status."""
    for line in case.fired:
        sent = line.firing
        statuses = sent.statuses if isinstance(sent, WrongRequestsSent) else ()
        if not any(map(refused_status, statuses)):
            return case.doubt(
                "none-refused", f"the server refused none of the requests at invocation {line.n}"
            )
    return None


def _wrong(name: str, what: str, forms: tuple[MalformedRequest, ...]) -> OutsideKind:
    """A kind of request that no server can serve."""
    names = tuple(form.name for form in forms)
    return OutsideKind(
        name=name,
        target=CLIENT,
        contract=CONFORMING,
        effect=f"{what}, sent to the server itself: {'; '.join(form.about for form in forms)}",
        evidence="forms sent, status and begin of each response",
        consequence="each is refused with a status from 400 to 499; requests of the load are not affected",
        heals="when the last of them is over",
        parameters={
            "trigger_on": TRIGGER_ON,
            "form": Parameter(EACH, choices=(EACH, *names), about="which"),
            "duration_s": duration_s(
                20.0, "until nothing more is sent; also the longest wait for one answer"
            ),
        },
        stacks=EVERYWHERE,
        firing=WrongRequestsSent,
        reverted=RequestsSent,
        inject=lambda injection, target: _MalformedRequests(forms, injection, target),
        check=_refused,
        silences=False,
        ends_alone=True,
    )


FAULTS = (
    _wrong("malformed_request", "requests that are none", MALFORMED),
    _wrong("oversized_request", "requests that are too large", OVERSIZED),
)
