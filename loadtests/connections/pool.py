"""Connections that wait for their next request."""

from __future__ import annotations

import time

from loadtests.connections.connection import Connection
from loadtests.connections.event_poller import EventPoller

IDLE_CONNECTION_S = 2.0
"""The server closes a connection after 5 s of idleness; ours are given up well before."""


class Pool:
    """To one server; as many as there are requests at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._poller = EventPoller()
        self._idle: list[tuple[float, Connection]] = []
        """With the time since when, the one that waits longest first."""

    def take(self) -> Connection:
        """One that is connected. Raises RequestFailed."""
        self._expire()
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_reusable():
                return connection
            connection.close()
        return Connection(self._host, self._port, self._poller)

    def give_back(self, connection: Connection) -> None:
        """Whatever has become of its request. Raises GreenletExit when that came meanwhile."""
        if connection.is_reusable():
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()
        connection.let_go()

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()
        self._poller.close()

    def _expire(self) -> None:
        oldest = time.monotonic() - IDLE_CONNECTION_S
        while self._idle and self._idle[0][0] < oldest:
            self._idle.pop(0)[1].close()
