"""Requests as the mock server reads them from a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

HEAD_END = b"\r\n\r\n"
LONGEST_HEAD = 64 << 10
LONGEST_BODY = 64 << 20


class RequestRejected(Exception):
    """The request is rejected; the connection is closed after the error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatMessage(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None


class CompletionParameters(msgspec.Struct):
    """The parameters that affect the response; all others are ignored."""

    model: str = "mock"
    prompt: str | list[int] = ""
    messages: list[ChatMessage] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: bool | int | None = None
    return_token_ids: bool | None = False
    prompt_logprobs: int | None = None

    @property
    def tokens(self) -> int:
        """Of each choice."""
        return max(1, self.max_completion_tokens or self.max_tokens or 16)

    @property
    def choices(self) -> int:
        return max(1, self.n or 1)

    @property
    def prompt_ids(self) -> list[int]:
        """Empty where the prompt is text: there is no tokenizer here."""
        return self.prompt if isinstance(self.prompt, list) else []

    @property
    def prompt_tokens(self) -> int:
        """Token ids where the prompt is given so, else characters: there is no tokenizer here."""
        return len(self.prompt) or sum(len(message.content or "") for message in self.messages)


_bodies = msgspec.json.Decoder(CompletionParameters)


def take_request(buffer: bytearray) -> Incoming | None:
    """Take the first request from what has arrived; None when it is not whole yet. Raises Refused."""
    end = buffer.find(HEAD_END)
    if end < 0:
        if len(buffer) > LONGEST_HEAD:
            raise RequestRejected(431, "the head of the request is too long")
        return None
    first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = _length(headers)
    whole = end + len(HEAD_END) + length
    if len(buffer) < whole:
        return None
    method, _, rest = first.partition(" ")
    body = bytes(buffer[end + len(HEAD_END) : whole])
    del buffer[:whole]
    return Incoming(method, rest.partition(" ")[0].partition("?")[0], headers, body)


def _length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise RequestRejected(411, "send the body with a Content-Length")
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit():
        raise RequestRejected(400, "the Content-Length is no length")
    if len(text) > 12 or int(text) > LONGEST_BODY:
        raise RequestRejected(413, "the body is too long")
    return int(text)


def parse_parameters(body: bytes) -> CompletionParameters:
    """Raises Refused."""
    try:
        return _bodies.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestRejected(400, str(error)) from error
