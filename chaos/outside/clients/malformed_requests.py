"""Requests that no server can serve, byte by byte as they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

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
    return tuple(form for form in forms if name in (EACH, form.name))
