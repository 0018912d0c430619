"""The events of a completions or chat stream: from the bytes of its body to chunks or runs of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Annotated, Any, Literal

import msgspec

from loadtests.clients.event_fields import Choice, PromptLogprobs, UsageEvent
from loadtests.connections.response_arrivals import RxTimestamps

DATA = b"data: "
EVENT_END = b"\n\n"
FRAME = len(DATA) + len(EVENT_END)
BETWEEN = EVENT_END + DATA
DONE = b"[DONE]"
"""An event that begins so is the last one."""
NO_MESSAGE = "An error occurred during streaming"


class Chunk(msgspec.Struct, gc=False):
    """One event. Fields that are not listed are the server's own affair."""

    choices: list[Choice]
    usage: UsageEvent | None = None
    error: Any = None
    prompt_logprobs: PromptLogprobs | None = None
    """A chat has them there."""


class MalformedChunk(Exception):
    """An event that is none of a completion."""


def chunk_of(event: Any) -> Chunk:
    """The chunk of an event as decoded from JSON. Raises MalformedChunk."""
    try:
        return msgspec.convert(event, Chunk)
    except msgspec.ValidationError as error:
        raise MalformedChunk(str(error)) from error


class TokenLogprobs(msgspec.Struct, gc=False):
    """Logprobs of a plain mid-stream event, which has no other logprob fields."""

    token_logprobs: list[float]
    content: None = None


class Tokens(msgspec.Struct, gc=False):
    """The answer part of a plain mid-stream event. Other events fail to decode and take the general path."""

    token_ids: Annotated[list[int], msgspec.Meta(min_length=1)]
    logprobs: TokenLogprobs
    index: Literal[0] = 0
    finish_reason: None = None
    prompt_logprobs: None = None


class MidStream(msgspec.Struct, gc=False):
    """An event in mid-stream, as nearly all are: tokens of one answer, with a logprob each, and nothing else.

    Such events take half of the time to decode and to add up that events of any kind do.
    """

    choices: tuple[Tokens]
    usage: None = None
    error: None = None
    prompt_logprobs: None = None


Event = tuple[bytes, int]
"""Its data, and when it had arrived (monotonic, ns)."""
_mid_stream_decoder = msgspec.json.Decoder(MidStream)


@dataclass(frozen=True, slots=True)
class TokenRun:
    """What a row of such events brought."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    arrived_ns: list[int] = field(default_factory=list)
    """Both of each event."""


def extend(run: TokenRun, events: Iterator[Event]) -> Event | None:
    """Add mid-stream events up to the first other one; returns that one, taken from the iterator.

    Raises what the iterator raises; what came before is in the run then.
    """
    decode_event = _mid_stream_decoder.decode
    token_ids, logprobs = run.token_ids, run.logprobs
    chunk_tokens, arrived_ns = run.chunk_tokens, run.arrived_ns
    for data, at_ns in events:
        try:
            (tokens,) = decode_event(data).choices
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return data, at_ns
        ids = tokens.token_ids
        token_ids += ids
        logprobs += tokens.logprobs.token_logprobs
        chunk_tokens.append(len(ids))
        arrived_ns.append(at_ns)
    return None


_chunk_decoder = msgspec.json.Decoder(Chunk)


class ErrorEvent(Exception):
    """The server reports a failure in mid-stream; the message is the server's, if it sent one."""

    def __init__(self, message: str, body: object) -> None:
        super().__init__(message)
        self.body = body


def decode(data: bytes) -> Chunk:
    """Raises ErrorEvent, MalformedChunk, json.JSONDecodeError, UnicodeDecodeError."""
    try:
        chunk = _chunk_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_other(data)
    return _decode_other(data) if chunk.error is not None else chunk


def plain_events(arrived: bytes) -> tuple[list[bytes], bytes] | None:
    """The data of each whole event at the begin, and the bytes that are left for the next one.

    None where anything has another form than servers send: one line of data for each event. The bytes are
    gone through a few times, but by no code of Python's own.
    """
    if b"\r" in arrived:
        return None
    if arrived.find(b"\n") == len(arrived) - len(EVENT_END) and arrived.startswith(DATA):
        # One event and no more, as it comes when nothing else is on its way.
        return ([arrived[len(DATA) : -len(EVENT_END)]], b"") if arrived.endswith(EVENT_END) else None
    end = arrived.rfind(EVENT_END)
    if end < 0:
        return [], arrived
    events = arrived[len(DATA) : end].split(BETWEEN)
    if not arrived.startswith(DATA) or b"\n" in b"".join(events):
        return None
    return events, arrived[end + len(EVENT_END) :]


def sizes(events: Iterable[bytes]) -> list[int]:
    """Bytes that each of these plain events takes in the body."""
    return [len(data) + FRAME for data in events]


def _decode_other(data: bytes) -> Chunk:
    """Decode an event that is an error of the server, or no chunk, as the openai client does."""
    event: Any = json.loads((DATA + data).decode()[len(DATA) :])
    error = event.get("error") if isinstance(event, dict) else None
    if not error:
        return chunk_of(event)
    message = error.get("message") if isinstance(error, dict) else None
    raise ErrorEvent(message if message and isinstance(message, str) else NO_MESSAGE, error)


LINE_END = re.compile(b"\r\n|\r|\n")


class EventReader:
    """Reads the events of one stream. From the first one in an unusual form on, it reads line by line."""

    def __init__(self, arrivals: RxTimestamps) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._lines: LineReader | None = None

    def read(self, piece: bytes) -> Iterable[tuple[bytes, int]]:
        """The data of each event that ends in this piece of the body, and when it was there (monotonic, ns).

        Raises UnicodeDecodeError.
        """
        if self._lines is not None:
            return self._by_line(self._lines, piece)
        arrived = self._rest + piece
        found = plain_events(arrived)
        if found is None:
            self._lines, self._rest = LineReader(), b""
            return self._by_line(self._lines, arrived)
        events, self._rest = found
        return zip(events, self._arrivals.of(sizes(events)), strict=True)

    def end(self) -> None:
        """The body is over; what is left is no event. Raises UnicodeDecodeError."""
        lines = self._lines or LineReader()
        for _ in lines.read(self._rest):
            continue
        lines.end()

    def _by_line(self, lines: LineReader, piece: bytes) -> Iterable[tuple[bytes, int]]:
        return zip(lines.read(piece), repeat(self._arrivals.last_ns))


class LineReader:
    """Server-sent events in full: comments, other fields, data of several lines, any ends of lines.

    Where the standard and the openai client differ it does as the openai client, so that both record alike.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        self._retry: int | None = None

    def read(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that ends in this piece. Raises UnicodeDecodeError."""
        if self._after_cr and piece.startswith(b"\n"):
            piece, self._after_cr = piece[1:], False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = LINE_END.split(self._rest + piece)
        for line in lines:
            if line:
                self._take(line.decode())
            elif self._event or self._data or self._id or self._retry is not None:
                yield "\n".join(self._data).encode()
                # The id is for all events that follow.
                self._event, self._data, self._retry = "", [], None

    def end(self) -> None:
        """Nothing more comes. Raises UnicodeDecodeError."""
        self._rest.decode()

    def _take(self, line: str) -> None:
        # A comment has no name before its colon, and so is no field.
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry":
                try:
                    self._retry = int(value)
                except ValueError:
                    return
