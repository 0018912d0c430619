"""One response of the mock server: the request's parameters, the plan, and the bytes in vLLM's format.

The plan is derived from the seed before the first byte is sent. Everything that is the same in all events of
a request is formatted once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any

import msgspec

from loadtests.mock.mock_process import COMPLETE, End, Fixed, Settings

NS_PER_MS = 1e6
FIRST_LETTER, LETTERS = ord("a"), 26
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"
CREATED = 1
"""A real server gives the time; no client reads it."""

_json = msgspec.json.Encoder().encode


class StreamOptions(msgspec.Struct):
    """Whether the stream ends with the token counts."""

    include_usage: bool = False


class ChatMessage(msgspec.Struct):
    """A message of a chat request, as text or as parts."""

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
        """Number of tokens of each answer."""
        return max(1, self.max_completion_tokens or self.max_tokens or 16)

    @property
    def choices(self) -> int:
        """Number of answers, at least 1."""
        return max(1, self.n or 1)

    @property
    def prompt_ids(self) -> list[int]:
        """Token ids of the prompt; empty where the prompt is text, since there is no tokenizer."""
        return self.prompt if isinstance(self.prompt, list) else []

    @property
    def prompt_tokens(self) -> int:
        """Token ids where the prompt is given so, else characters: there is no tokenizer here."""
        return len(self.prompt) or sum(len(message.content or "") for message in self.messages)


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """Events come in steps: in each step one event for every requested choice."""

    end: End
    offsets_ns: tuple[int, ...]
    """Time of each step from the arrival of the request. An http_error comes when the first token would."""
    step_tokens: tuple[int, ...]
    """Tokens that a step brings to each choice."""

    @property
    def is_complete(self) -> bool:
        """Whether the response ends with all its tokens."""
        return self.end in COMPLETE


def response_plan(settings: Settings, request_id: str, max_tokens: int) -> ResponsePlan:
    """The same for the same seed and id, whatever else is under way."""
    random = Random(_number(settings.seed, request_id))
    size = settings.tokens_per_event
    sizes = [size] * (max_tokens // size) + [max_tokens % size] * (max_tokens % size > 0)
    end, index = _end(settings, random.random()), random.random()
    broken_at = min(1 + int(index * (len(sizes) - 1)), len(sizes))
    offsets = list(_offsets(settings, random, len(sizes)))
    if end == "pause":
        pause_ns = round(settings.pause_ms * NS_PER_MS)
        first_late = broken_at if len(sizes) > 1 else 0
        offsets[first_late:] = [offset + pause_ns for offset in offsets[first_late:]]
    elif end == "http_error":
        offsets, sizes = offsets[:1], [0]
    elif end not in COMPLETE:
        offsets, sizes = offsets[:broken_at], sizes[:broken_at]
    return ResponsePlan(end, tuple(offsets), tuple(sizes))


def response_tokens(request_id: str, choice: int, count: int) -> list[int]:
    """The token ids of an answer: letters, so that the text has as many characters as there are tokens."""
    begin = _number(choice, request_id) % LETTERS
    return [FIRST_LETTER + (begin + 7 * index) % LETTERS for index in range(count)]


def _end(settings: Settings, lot: float) -> End:
    for end, share in settings.ends.items():
        lot -= share
        if lot < 0:
            return end
    return "whole"


def _offsets(settings: Settings, random: Random, steps: int) -> Iterator[int]:
    at_ms = settings.ttft.at(random.random())
    yield round(at_ms * NS_PER_MS)
    for step in range(1, steps):
        if isinstance(settings.itl, Fixed):
            yield round((at_ms + step * settings.itl.ms) * NS_PER_MS)
        else:
            at_ms += settings.itl.at(random.random())
            yield round(at_ms * NS_PER_MS)


def _number(salt: int, request_id: str) -> int:
    digest = hashlib.blake2b(f"{salt}:{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def logprob(token: int) -> float:
    """The made-up logprob of a token: from 0 down to -0.9375."""
    return -(token % 16) / 16


def chunk(data: bytes) -> bytes:
    """An SSE event as one chunk of HTTP."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


DONE = chunk(b"[DONE]")


class MockResponse:
    """The response to one request. `path` is CHAT or COMPLETIONS."""

    def __init__(self, path: str, request_id: str, parameters: CompletionParameters) -> None:
        self._chat = path == CHAT
        self._parameters = parameters
        self._tokens = [
            response_tokens(request_id, choice, parameters.tokens) for choice in range(parameters.choices)
        ]
        kind = "chatcmpl" if self._chat else "cmpl"
        what = "chat.completion.chunk" if self._chat else "text_completion"
        self._base = {
            "id": f"{kind}-{request_id}",
            "object": what,
            "created": CREATED,
            "model": parameters.model,
        }
        # The part of an event before its choices, without the brace that closes it.
        self._front = _json(self._base)[:-1] + b',"choices":['

    def event(self, choice: int, begin: int, end: int, *, last: bool) -> bytes:
        """The tokens of a choice from `begin` to `end`, and the finish reason when they are its last."""
        tokens = self._tokens[choice][begin:end]
        text = bytes(tokens)
        if self._chat:
            role = b'"role":"assistant",' if begin == 0 else b""
            content_field = b'"delta":{%b"content":"%b"}' % (role, text)
        else:
            content_field = b'"text":"%b"' % text
        finish = b'"length"' if last else b"null"
        data = b'%b{"index":%d,%b,"logprobs":%b,"finish_reason":%b,"stop_reason":null%b}]}' % (
            *(self._front, choice, content_field, self._logprobs(tokens, begin), finish),
            self._ids(tokens, begin),
        )
        return chunk(data)

    def _ids(self, tokens: Sequence[int], begin: int) -> bytes:
        """vLLM gives the ids of the prompt back with the first event."""
        if not self._parameters.return_token_ids:
            return b""
        ids = b',"token_ids":[%b]' % ",".join(map(str, tokens)).encode()
        if begin == 0 and not self._chat and isinstance(self._parameters.prompt, list):
            return b',"prompt_token_ids":%b%b' % (_json(self._parameters.prompt), ids)
        return b',"prompt_token_ids":null%b' % ids if not self._chat else ids

    def _logprobs(self, tokens: Sequence[int], begin: int) -> bytes:
        if self._parameters.logprobs is None or self._parameters.logprobs is False:
            return b"null"
        pairs = [(chr(token), logprob(token)) for token in tokens]
        if self._chat:
            entries = ({"token": text, "logprob": value, "bytes": [ord(text)]} for text, value in pairs)
            return _json({"content": [entry | {"top_logprobs": []} for entry in entries]})
        return _json(
            {
                "text_offset": list(range(begin, begin + len(tokens))),
                "token_logprobs": [value for _, value in pairs],
                "tokens": [text for text, _ in pairs],
                "top_logprobs": [{text: value} for text, value in pairs],
            }
        )

    def close(self) -> bytes:
        """What follows the last token: the usage where it was asked for, and the end of the stream."""
        options = self._parameters.stream_options
        if options is None or not options.include_usage:
            return DONE + STREAM_END
        return chunk(_json(self._base | {"choices": [], "usage": self._usage()})) + DONE + STREAM_END

    def whole(self) -> bytes:
        """The answer in one piece."""
        choices = [self._choice(index, tokens) for index, tokens in enumerate(self._tokens)]
        what: dict[str, Any] = {"object": "chat.completion"} if self._chat else {}
        if self._parameters.prompt_logprobs is not None:
            # A chat tells them beside its choices.
            (what if self._chat else choices[0])["prompt_logprobs"] = self._of_prompt()
        return response(200, self._base | what | {"choices": choices, "usage": self._usage()})

    def _of_prompt(self) -> list[dict[str, dict[str, float]] | None]:
        pairs: list[dict[str, dict[str, float]] | None] = [
            {str(token): {"logprob": logprob(token)}} for token in self._parameters.prompt_ids
        ]
        return [None, *pairs[1:]]

    def _choice(self, index: int, tokens: list[int]) -> dict[str, Any]:
        text = bytes(tokens).decode()
        content_field = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        ids = {"token_ids": tokens} if self._parameters.return_token_ids else {}
        logprobs = msgspec.Raw(self._logprobs(tokens, 0))
        return {"index": index, **content_field, "logprobs": logprobs, "finish_reason": "length", **ids}

    def _usage(self) -> dict[str, int]:
        prompt, answered = self._parameters.prompt_tokens, sum(map(len, self._tokens))
        return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": prompt + answered}


def response(status: int, content: dict[str, Any]) -> bytes:
    """A whole response of JSON."""
    body = _json(content)
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nserver: mock\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def models(name: str) -> dict[str, Any]:
    """The answer of `/v1/models`, with one model."""
    model = {"id": name, "object": "model", "created": CREATED, "owned_by": "mock", "max_model_len": 1 << 20}
    return {"object": "list", "data": [model]}


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error response, as vLLM sends it."""
    kind = "InternalServerError" if status >= 500 else "BadRequestError"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def error_event(message: str) -> bytes:
    """An error as an event of a stream, with the end of the stream."""
    return chunk(_json(error(500, message))) + DONE + STREAM_END
