"""How a request can end without a complete response."""

from __future__ import annotations


class Abandoned(Exception):
    """The client aborts this request on purpose now."""


class RequestFailure(Exception):
    """The server or the network ended a request without a complete response."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The error's class, the same for all clients."""
