"""How a request can end without a whole answer."""

from __future__ import annotations


class Abandoned(Exception):
    """The time has come at which this request was to be given up."""


class RequestFailed(Exception):
    """The server, or the way to it, made a request end without a whole answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The same word whichever client has met it."""
