"""A server in a container: the interface that its faults use."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from docker.errors import APIError
from docker.models.containers import Container

from chaos.outside.process_injector import Engine, HasProcesses, ServerProcess
from history.protocol.outside import Ended


class ContainerServer(HasProcesses, Protocol):
    """A server and its container, which is the same for all incarnations."""

    @property
    def container(self) -> Container: ...

    def alive(self) -> bool:
        """Whether the container runs; a paused one does. Its attributes are fresh afterwards."""
        ...

    def exit_code(self) -> int | None:
        """Of this incarnation, negative for a signal; None while it runs."""
        ...

    def processes(self) -> Sequence[ServerProcess]:
        """Those of the container, by their ids on this machine; empty when they cannot be seen."""
        ...

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them; to nobody when it is gone."""
        ...


class ContainerTarget:
    """See `chaos.outside.server_termination.TerminableServer`."""

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._engine = Engine(server)

    def runs(self) -> bool:
        return self._server.alive()

    def identity(self) -> Ended:
        container = self._server.container
        return Ended(
            pid=container.attrs["State"]["Pid"],
            pids=[process.pid for process in self._server.processes()],
            container=container.short_id,
        )

    def send(self, which: signal.Signals) -> None:
        try:
            self._server.container.kill(which.name)
        except APIError as error:
            if error.status_code not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise

    def kill_engine(self) -> Sequence[int]:
        return self._engine.kill()

    def engine_gone(self) -> bool:
        return self._engine.gone()

    def ended(self) -> int | None:
        return self._server.exit_code()
