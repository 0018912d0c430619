"""Faults on the processes of a server that runs on this machine, by signals."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Protocol

from chaos.outside.injector import Hold, Refused, Strike
from history.records import Evidence

STOPPED = "T"


class ServerProcess(Protocol):
    """A process of the server, as the kernel tells it."""

    @property
    def pid(self) -> int: ...

    @property
    def state(self) -> str:
        """R, S, D, T and so on, as in /proc."""
        ...


class Server(Protocol):
    """The server's processes, proved to be ours at the moment they are asked for."""

    def processes(self) -> Sequence[ServerProcess]:
        """Those that run now, the stopped ones among them; empty when the server is gone."""
        ...

    def signal_all(self, which: signal.Signals) -> None:
        """Send a signal to all of them at once; to nobody when the server is gone."""
        ...


class ProcessInjector:
    """Signals to a server on this machine."""

    kinds = ("pause",)

    def __init__(self, server: Server) -> None:
        self._server = server

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        return _Pause(self._server)


class _Pause:
    """SIGSTOP until SIGCONT."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._going_on = False

    def strike(self) -> None:
        if not self._server.processes():
            raise Refused("the server does not run")
        self._server.signal_all(signal.SIGSTOP)

    def proof(self) -> Evidence | None:
        """All processes in state T."""
        there = self._server.processes()
        if not there or self._going_on:
            return None
        if any(process.state != STOPPED for process in there):
            return None
        return {"signal": "SIGSTOP", "pids": [process.pid for process in there], "state": STOPPED}

    def lift(self) -> None:
        self._going_on = True
        self._server.signal_all(signal.SIGCONT)

    def lifted(self) -> Evidence | None:
        """None of them in state T any more, or all gone."""
        there = self._server.processes()
        if not self._going_on or any(process.state == STOPPED for process in there):
            return None
        return {"signal": "SIGCONT", "processes": len(there)}
