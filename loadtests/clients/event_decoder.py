"""One event of a stream, from the bytes behind `data:` to a chunk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from loadtests.clients.chunks import Chunk, chunk_of

DATA = b"data: "
EVENT_END = b"\n\n"
FRAME = len(DATA) + len(EVENT_END)
BETWEEN = EVENT_END + DATA
DONE = b"[DONE]"
"""An event that begins so is the last one."""
NO_MESSAGE = "An error occurred during streaming"

_decoder = msgspec.json.Decoder(Chunk)


class ErrorEvent(Exception):
    """The server reports a failure in mid-stream; the message is the server's, if it sent one."""

    def __init__(self, message: str, body: object) -> None:
        super().__init__(message)
        self.body = body


def decode(data: bytes) -> Chunk:
    """Raises ErrorEvent, MalformedChunk, json.JSONDecodeError, UnicodeDecodeError."""
    try:
        chunk = _decoder.decode(data)
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
