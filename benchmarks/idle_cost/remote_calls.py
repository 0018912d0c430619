"""Calls of another process over a pipe or a socket. Runs in the suite's Python and in the server's.

A call is the name of a method with its arguments, the answer is what the method returns. An error of a method
ends the process that serves; its log has the reason.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any


class ServerEnded(Exception):
    """The process that serves the calls ended before it answered."""


def serve(connection: Connection, target: object) -> None:
    """Answer calls until the other side closes the connection."""
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        connection.send(getattr(target, method)(*arguments))


def call(connection: Connection, method: str, *arguments: object) -> Any:
    """What the method returns there. Raises ServerEnded."""
    try:
        connection.send((method, arguments))
        return connection.recv()
    except (EOFError, ConnectionError) as error:
        raise ServerEnded(method) from error
