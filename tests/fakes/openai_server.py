"""A small server that speaks the streaming completions API, well or badly on purpose.

For tests of the client's parsing and timing only. What a real server does is tested on a real server.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

TOO_LONG = "the prompt is too long"
ENGINE_DEAD = "EngineCore encountered an issue"
Shape = Literal[
    "normal",
    "truncated",  # the stream ends tidily, without finish reason and usage
    "no_usage",  # everything but the usage event
    "cut",  # the connection is closed in mid-stream
    "error_event",  # an error object inside a stream with status 200
    "malformed",  # a chunk that is no JSON
    "misshapen",  # a chunk that is JSON of the wrong shape
    "bad_request",  # status 400
    "server_error",  # status 500
    "stall",  # answers the first tokens, then nothing for ever
    "silent",  # accepts the request and never answers
    "hang_up",  # closes the connection before any answer
    "wrong_usage",  # usage counts one token too many
    "lingers",  # everything, but the body never ends
]


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered."""

    shape: Shape = "normal"
    after: int = 2
    """Tokens sent before the misbehaviour."""
    tokens_per_chunk: int = 1
    token_s: float = 0.0
    """Pause before each chunk, seconds."""
    token_ids: bool = True
    cached_tokens: int | None = None
    message: str = TOO_LONG
    """What a status 400 says."""


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived. Header names are in lower case."""

    body: dict[str, Any]
    headers: dict[str, str]
    raw: bytes
    """The body, byte for byte."""


def answer_tokens(prompt: list[int], count: int) -> list[int]:
    """The tokens this server answers to a prompt: always the same ones."""
    return list(hashlib.shake_256(bytes(prompt)).digest(count))


def answer_logprobs(tokens: list[int]) -> list[float]:
    """The logprob of each token of the fake answer."""
    return [-1.0 - token / 256 for token in tokens]


def prompt_logprobs(prompt: list[int]) -> list[dict[str, dict[str, object]] | None]:
    """Of each token of a prompt, and of another that would have been likelier."""
    own = answer_logprobs(prompt)
    return [
        {str(token): {"logprob": logprob, "rank": 2}, "300": {"logprob": -0.5, "rank": 1}} if index else None
        for index, (token, logprob) in enumerate(zip(prompt, own, strict=True))
    ]


@dataclass
class FakeServer:
    """Runs in threads of this process: `with FakeServer(Behaviour(...)) as server: server.url`."""

    behaviour: Behaviour | Callable[[ReceivedRequest], Behaviour] = field(default_factory=Behaviour)
    received: list[ReceivedRequest] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.fake = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def choose(self, request: ReceivedRequest) -> Behaviour:
        self.received.append(request)
        return self.behaviour(request) if callable(self.behaviour) else self.behaviour


class _Server(ThreadingHTTPServer):
    """The threading HTTP server that knows its fake."""

    fake: FakeServer
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    """Answers completions and chats with the configured behaviour."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""

    def do_GET(self) -> None:
        """/health."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        headers = {name.lower(): value for name, value in self.headers.items()}
        behaviour = self.server.fake.choose(ReceivedRequest(body, headers, raw))
        match behaviour.shape:
            case "bad_request":
                self._json_error(400, "BadRequestError", behaviour.message)
            case "server_error":
                self._json_error(500, "InternalServerError", ENGINE_DEAD)
            case "silent":
                self._hang()
            case "hang_up":
                self.close_connection = True
            case _ if body.get("stream"):
                self._stream(body, behaviour)
            case _:
                self._whole(body)

    def _json_error(self, status: int, kind: str, message: str) -> None:
        content = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def _hang(self) -> None:
        self.server.fake.closing.wait()
        self.close_connection = True

    def _whole(self, body: dict[str, Any]) -> None:
        """All choices in one piece."""
        answers = _answers(body)
        content = _chunk(answers[0], "length", with_ids=True)
        content["choices"] = [
            _chunk(tokens, "length", with_ids=True, index=index)["choices"][0]
            for index, tokens in enumerate(answers)
        ]
        if "prompt_logprobs" in body:
            content["choices"][0]["prompt_logprobs"] = prompt_logprobs(body["prompt"])
        content["usage"] = _usage(len(body["prompt"]), sum(map(len, answers)), None)["usage"]
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, body: dict[str, Any], behaviour: Behaviour) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        answers = _answers(body)
        tokens = answers[0]
        whole = behaviour.shape in ("normal", "no_usage", "wrong_usage", "lingers")
        count = len(tokens) if whole else min(behaviour.after, len(tokens))
        for at in range(0, count, behaviour.tokens_per_chunk):
            if self.server.fake.closing.wait(behaviour.token_s):
                self.close_connection = True
                return
            end = min(at + behaviour.tokens_per_chunk, count)
            finish = "length" if whole and end == len(tokens) else None
            for index, answer in enumerate(answers):
                self._event(_chunk(answer[at:end], finish, with_ids=behaviour.token_ids, index=index))
        self._end(behaviour, len(body["prompt"]), len(tokens) * len(answers))

    def _end(self, behaviour: Behaviour, prompt_tokens: int, answered: int) -> None:
        match behaviour.shape:
            case "cut":
                self.close_connection = True
                return
            case "stall":
                self._hang()
                return
            case "malformed":
                self._data(b"{not json")
            case "misshapen":
                self._event({"choices": "none"})
            case "error_event":
                error = {
                    "message": ENGINE_DEAD,
                    "type": "InternalServerError",
                    "code": 500,
                }
                self._event({"error": error})
            case "normal" | "lingers":
                self._event(_usage(prompt_tokens, answered, behaviour.cached_tokens))
            case "wrong_usage":
                self._event(_usage(prompt_tokens, answered + 1, behaviour.cached_tokens))
            case _:
                pass
        if behaviour.shape != "truncated":
            self._data(b"[DONE]")
        if behaviour.shape == "lingers":
            self._hang()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, content: dict[str, Any]) -> None:
        self._data(json.dumps(content).encode())

    def _data(self, content: bytes) -> None:
        line = b"data: " + content + b"\n\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def _answers(body: dict[str, Any]) -> list[list[int]]:
    """The tokens of each choice."""
    prompt, count = body["prompt"], body["max_tokens"]
    return [answer_tokens([*prompt, *[index] * bool(index)], count) for index in range(body.get("n", 1))]


def _chunk(tokens: list[int], finish: str | None, *, with_ids: bool, index: int = 0) -> dict[str, Any]:
    """One event of a streamed completion."""
    logprobs = answer_logprobs(tokens)
    choice: dict[str, Any] = {
        "index": index,
        "text": "".join(chr(token) for token in tokens),
        "logprobs": {
            "text_offset": [0] * len(tokens),
            "token_logprobs": logprobs,
            "tokens": [chr(token) for token in tokens],
            "top_logprobs": [{"": value} for value in logprobs],
        },
        "finish_reason": finish,
        "stop_reason": None,
    }
    if with_ids:
        choice["token_ids"] = tokens
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny", "choices": [choice]}


def _usage(prompt: int, completion: int, cached: int | None) -> dict[str, Any]:
    """The usage of an answer, with cached tokens where they are given."""
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "tiny",
        "choices": [],
        "usage": usage,
    }
