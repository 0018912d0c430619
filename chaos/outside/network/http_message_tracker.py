"""Tracks which request is in flight on a connection, from the bytes of both directions.

llhttp parses them, as in vLLM's own server. From bytes that are no HTTP/1.1 on, a direction is forwarded
without being tracked.
"""

from __future__ import annotations

from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

NAME = b"x-request-id"
INFORMATIONAL = range(100, 200)
"""Such a status only announces another."""


class HttpMessageTracker:
    """The requests of one connection, one after the other."""

    def __init__(self, begins: Callable[[str], None]) -> None:
        """`begins` is called with the id of a request, empty if it has none, when its head is complete."""
        self._begins = begins
        self._requests = _Requests()
        self._responses = _Responses()
        self.open: str | None = None
        """Id of the request whose response is not complete yet."""

    def request_bytes(self, data: bytes) -> None:
        """Bytes of the client, before they are forwarded."""
        for name in self._requests.begun_with(data):
            self.open = name
            self._begins(name)

    def response_bytes(self, data: bytes) -> None:
        """Bytes of the server."""
        if self._responses.end_with(data):
            self.open = None


class _Requests:
    """Parser of the client's requests."""

    def __init__(self) -> None:
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._begun: list[str] = []
        self._name: bytes | None = None
        """Name of the request whose head is not complete."""

    def begun_with(self, data: bytes) -> list[str]:
        """The ids of the requests whose heads are complete with these bytes, or turn out to be wrong."""
        self._begun = []
        if self._parser is not None and not _feed(self._parser, data):
            self._parser = None
            if self._name is not None:
                self.on_headers_complete()
        return self._begun

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        if self._name is None and name.lower() == NAME:
            self._name = value

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        self._begun.append((self._name or b"").decode("latin-1"))
        self._name = None


class _Responses:
    """Parser of the server's responses."""

    def __init__(self) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._ended = False

    def end_with(self, data: bytes) -> bool:
        """Whether a response ends with or within these bytes."""
        self._ended = False
        if self._parser is not None and not _feed(self._parser, data):
            self._parser = None
        return self._ended

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        if self._parser is not None and self._parser.get_status_code() not in INFORMATIONAL:
            self._ended = True


def _feed(parser: HttpRequestParser | HttpResponseParser, data: bytes) -> bool:
    """Parse bytes; whether they are HTTP."""
    try:
        parser.feed_data(data)
    except (HttpParserError, HttpParserUpgrade):
        return False
    return True
