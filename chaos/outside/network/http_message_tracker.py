"""Tracks which request is in flight on a connection, from the bytes of both directions.

It parses only as much of HTTP/1.1 as identifies a request and finds its end. Anything else is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
LONGEST_HEAD = 64 << 10
LONGEST_NUMBER = 18
NAME = b"x-request-id"


class HttpMessageTracker:
    """The requests of one connection, one after the other."""

    def __init__(self, begins: Callable[[str], None]) -> None:
        """`begins` is called with the id of a request, empty if it has none, when its head is complete."""
        self._begins = begins
        self._requests = _Messages()
        self._answers = _Messages()
        self.open: str | None = None
        """Id of the request whose response is not complete yet."""

    def request_bytes(self, data: bytes) -> None:
        """Bytes of the client, before they are forwarded."""
        for head in self._requests.read(data):
            self.open = _field(head, NAME).decode("latin-1")
            self._begins(self.open)

    def response_bytes(self, data: bytes) -> None:
        """Bytes of the server."""
        before = self._answers.ended
        self._answers.read(data)
        if self._answers.ended != before:
            self.open = None


class _Part(Enum):
    HEAD = "head"
    BODY = "body"
    CHUNKS = "chunks"
    UNREAD = "unread"
    """The rest of the connection."""


class _Messages:
    """The messages of one direction."""

    def __init__(self) -> None:
        self.ended = 0
        self._part = _Part.HEAD
        self._head = bytearray()
        self._left = 0
        """Bytes of the body that are still to come."""
        self._tail = b""

    def read(self, data: bytes) -> list[bytes]:
        """The heads that are whole with these bytes."""
        heads: list[bytes] = []
        while data:
            match self._part:
                case _Part.HEAD:
                    data = self._read_head(data, heads)
                case _Part.BODY:
                    taken = min(self._left, len(data))
                    self._left, data = self._left - taken, data[taken:]
                    if not self._left:
                        self._end()
                case _Part.CHUNKS:
                    # The mark stands at the end of what a server writes, and in no JSON and no event.
                    self._tail, data = (self._tail + data)[-len(LAST_CHUNK) :], b""
                    if self._tail == LAST_CHUNK:
                        self._end()
                case _Part.UNREAD:
                    data = b""
        return heads

    def _read_head(self, data: bytes, heads: list[bytes]) -> bytes:
        self._head += data
        end = self._head.find(HEAD_END)
        if end < 0:
            if len(self._head) > LONGEST_HEAD:
                self._part = _Part.UNREAD
            return b""
        heads.append(bytes(self._head[:end]))
        rest = bytes(self._head[end + len(HEAD_END) :])
        self._head.clear()
        self._begin_body(heads[-1])
        return rest

    def _begin_body(self, head: bytes) -> None:
        length = _field(head, b"content-length")
        if _field(head, b"transfer-encoding"):
            # Of an empty body the mark begins with the end of the head.
            self._part, self._tail = _Part.CHUNKS, HEAD_END[-2:]
        elif length and not (length.isdigit() and len(length) <= LONGEST_NUMBER):
            self._part = _Part.UNREAD
        elif length and int(length):
            self._part, self._left = _Part.BODY, int(length)
        else:
            self._end()

    def _end(self) -> None:
        self._part = _Part.HEAD
        self.ended += 1


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty where there is none."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return b""
