"""One event of a stream, from the bytes behind `data:` to a chunk."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from loadtests.chunks import Chunk, chunk_of

DATA = b"data: "
EVENT_END = b"\n\n"
DONE = b"[DONE]"
"""An event that begins so is the last one."""
NO_MESSAGE = "An error occurred during streaming"

_decoder = msgspec.json.Decoder(Chunk)


class ErrorEvent(Exception):
    """The server says in mid-stream that it has failed; the words are its own, where it gave any."""

    def __init__(self, message: str, body: object) -> None:
        super().__init__(message)
        self.body = body


def decode(data: bytes) -> Chunk:
    """Raises ErrorEvent, MalformedChunk, json.JSONDecodeError, UnicodeDecodeError."""
    try:
        chunk = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _told(data)
    return _told(data) if chunk.error is not None else chunk


def is_plain(block: bytes) -> bool:
    """Whether an event, without its end, has the form that servers send: one line of data."""
    return block.startswith(DATA) and b"\n" not in block and b"\r" not in block


def _told(data: bytes) -> Chunk:
    """An event that is an error of the server, or no chunk: as the openai client would tell it."""
    event: Any = json.loads((DATA + data).decode()[len(DATA) :])
    error = event.get("error") if isinstance(event, dict) else None
    if not error:
        return chunk_of(event)
    message = error.get("message") if isinstance(error, dict) else None
    raise ErrorEvent(message if message and isinstance(message, str) else NO_MESSAGE, error)
