"""Incremental parser of HTTP/1.1 responses, however the bytes are split. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from loadtests.failures import RequestFailure

INFORMATIONAL = range(100, 200)
"""Such a status only announces another."""
FRAMING = (b"content-length", b"transfer-encoding")


class ResponseParser:
    """Parses the responses of one connection; call `begin` before each."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """Of the body, that came with what was fed last."""
        # llhttp calls it for each piece, so there is nothing in between.
        self.on_body = self.pieces.append
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        self.pieces.clear()
        self.headers: list[tuple[bytes, bytes]] = []
        self.status: int | None = None
        self._size = 0
        """Of the body so far, bytes."""
        self.whole = False
        """The response is complete."""
        self.failure: RequestFailure | None = None
        """Nothing more will come of it, since what came was no HTTP or not all."""
        self.keeps_alive = False
        """The connection can take another request."""
        self._framed = False
        """The response declares where it ends."""

    def feed(self, reads: Sequence[bytes]) -> list[int]:
        """Take in what was read, one read after the other; an empty one, when the server has closed the
        connection. Gives how many bytes of the body there are after each; the last ones stay out when the
        answer fails before them.
        """
        pieces, ends = self.pieces, []
        pieces.clear()
        try:
            for data in reads:
                if data:
                    self._parser.feed_data(data)
                else:
                    self._closed()
                ends.append(len(pieces))
        except (HttpParserError, HttpParserUpgrade) as error:
            self.keeps_alive = False
            self.failure = RequestFailure("RemoteProtocolError", f"no HTTP: {error}")
            ends.append(len(pieces))
        sizes = [*accumulate(map(len, pieces), initial=self._size)]
        self._size = sizes[-1]
        return [sizes[end] for end in ends]

    def _closed(self) -> None:
        self.keeps_alive = False
        if self.whole:
            return
        if self.status is not None and not self._framed:
            self.whole = True
            return
        answered = "without sending a response" if self.status is None else "in the middle of the response"
        self.failure = RequestFailure("RemoteProtocolError", f"the server closed the connection {answered}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        self.headers.append((name, value))
        self._framed = self._framed or name.lower() in FRAMING

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        status = self._parser.get_status_code()
        if self.whole:
            self.keeps_alive = False  # More has come than was asked for.
        elif status in INFORMATIONAL:
            self.headers = []
        else:
            self.status = status

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        if self.status is not None and not self.whole:
            self.whole = True
            self.keeps_alive = self._parser.should_keep_alive()
