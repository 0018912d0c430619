"""HTTP/1.1 answers out of the bytes of a connection, however they are cut. Pure."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from loadtests.client import RequestFailed

INFORMATIONAL = range(100, 200)
"""Such a status only announces another."""
FRAMING = (b"content-length", b"transfer-encoding")


class AnswerParser:
    """Of one connection, one answer after the other; `begin` comes before each."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """Of the body, that came with what was fed last."""
        # llhttp calls it for each piece, so there is nothing in between.
        self.on_body = self.pieces.append
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        self.pieces.clear()
        self.status: int | None = None
        self.whole = False
        """The answer is there to its last byte."""
        self.failure: RequestFailed | None = None
        """Nothing more will come of it, since what came was no HTTP or not all."""
        self.keeps_alive = False
        """The connection can take another request."""
        self._framed = False
        """The answer tells where it ends."""

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what was read; nothing, when the server has closed the connection."""
        self.pieces.clear()
        if not data:
            self._closed()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.keeps_alive = False
            self.failure = RequestFailed("RemoteProtocolError", f"no HTTP: {error}")

    def _closed(self) -> None:
        if self.status is not None and not self._framed:
            self.whole = True
            return
        answered = "without sending a response" if self.status is None else "in the middle of the response"
        self.failure = RequestFailed("RemoteProtocolError", f"the server closed the connection {answered}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        self._framed = self._framed or name.lower() in FRAMING

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        status = self._parser.get_status_code()
        if self.whole:
            self.keeps_alive = False  # More has come than was asked for.
        elif status not in INFORMATIONAL:
            self.status = status

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        if self.status is not None and not self.whole:
            self.whole = True
            self.keeps_alive = self._parser.should_keep_alive()
