"""The server as a target of faults: processes of this machine by signals, or a container by its engine."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from chaos.outside.faults.server_termination import Restarter, TerminableServer
from chaos.outside.injector import (
    ActiveFault,
    TargetNotRunning,
    TargetNotVisible,
)
from history.protocol.outside import Continued, Ended, Paused

if TYPE_CHECKING:
    from docker.models.containers import Container

STOPPED = "T"
ENGINE = "VLLM::EngineCor"
"""What vLLM calls the process of its engine, as far as the kernel keeps a name."""


class ServerProcess(Protocol):
    """A process of the server, as the kernel reports it."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def name(self) -> str:
        """Name as in `/proc/PID/comm`."""

    @property
    def state(self) -> str:
        """R, S, D, T and so on, as in /proc."""
        ...


class Server(Protocol):
    """The server's processes, verified to be ours at each call."""

    @property
    def pid(self) -> int | None:
        """Its leader's process id."""
        ...

    def processes(self) -> Sequence[ServerProcess]:
        """The running processes, including stopped ones; empty when the server is gone."""
        ...

    def exit_code(self) -> int | None:
        """The leader's, negative for a signal; None while it runs."""
        ...

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them; does nothing when it has ended."""
        ...

    def signal_all(self, which: signal.Signals) -> None:
        """Send a signal to all of them at once; does nothing when the server has ended."""
        ...


class HasProcesses(Protocol):
    """A server with individually visible processes, wherever it runs."""

    def processes(self) -> Sequence[ServerProcess]:
        """All running processes of the server."""

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them."""


class Engine:
    """The process of a server's engine, which is found by its name."""

    def __init__(self, server: HasProcesses) -> None:
        self._server = server
        self._killed: set[int] = set()

    def kill(self) -> Sequence[int]:
        """SIGKILL to it alone; its processes. Raises NotVisible when it cannot be found."""
        self._killed = {process.pid for process in self._server.processes() if process.name == ENGINE}
        if not self._killed:
            raise TargetNotVisible(f"no process named {ENGINE} of the server is visible from this machine")
        for pid in self._killed:
            self._server.signal_one(pid, signal.SIGKILL)
        return sorted(self._killed)

    def gone(self) -> bool:
        """Whether what was killed has ended."""
        return self._killed.isdisjoint(process.pid for process in self._server.processes())


class _Pause:
    """SIGSTOP until SIGCONT."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._resuming = False

    def apply(self) -> None:
        if not self._server.processes():
            raise TargetNotRunning("the server does not run")
        self._server.signal_all(signal.SIGSTOP)

    def verify(self) -> Paused | None:
        """All processes in state T."""
        there = self._server.processes()
        if not there or self._resuming:
            return None
        if any(process.state != STOPPED for process in there):
            return None
        return Paused(signal="SIGSTOP", pids=[process.pid for process in there], state=STOPPED)

    def revert(self) -> None:
        self._resuming = True
        self._server.signal_all(signal.SIGCONT)

    def reverted(self) -> Continued | None:
        """None of them in state T any more, or all gone."""
        there = self._server.processes()
        if not self._resuming or any(process.state == STOPPED for process in there):
            return None
        return Continued(signal="SIGCONT", processes=len(there))


class LocalTarget:
    """A process group; see `chaos.outside.faults.server_termination`."""

    def __init__(self, server: Server, restarter: Restarter) -> None:
        self._server = server
        self._engine = Engine(server)
        self.restarter = restarter

    def terminable(self) -> TerminableServer:
        """A target for one fault, which remembers the engine that it killed."""
        return LocalTarget(self._server, self.restarter)

    def pause(self) -> ActiveFault:
        """Prepare SIGSTOP to all processes."""
        return _Pause(self._server)

    def runs(self) -> bool:
        """Whether any process of the server runs."""
        return bool(self._server.processes())

    def identity(self) -> Ended:
        """Process ids of the server, as evidence of what is ended."""
        pids = [process.pid for process in self._server.processes()]
        return Ended(pid=self._server.pid, pids=pids)

    def send(self, which: signal.Signals) -> None:
        """Send SIGKILL to all processes, or another signal to the leader."""
        if which is signal.SIGKILL:
            self._server.signal_all(which)
        elif self._server.pid is not None:
            self._server.signal_one(self._server.pid, which)

    def kill_engine(self) -> Sequence[int]:
        """Kill the processes of the engine; returns their ids."""
        return self._engine.kill()

    def engine_gone(self) -> bool:
        """Whether the killed processes of the engine have ended."""
        return self._engine.gone()

    def ended(self) -> int | None:
        """Exit code of the server; None while a process runs."""
        return None if self.runs() else self._server.exit_code()


class ContainerServer(HasProcesses, Protocol):
    """A server and its container, which is the same for all incarnations."""

    @property
    def container(self) -> Container:
        """The server's container, the same for all incarnations."""

    def alive(self) -> bool:
        """Whether the container runs; a paused one does. Its attributes are fresh afterwards."""
        ...

    def exit_code(self) -> int | None:
        """Exit code of this incarnation, negative for a signal; None while it runs."""
        ...

    def processes(self) -> Sequence[ServerProcess]:
        """The container's processes by their ids on this machine; empty when they are not visible."""
        ...

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them; does nothing when it has ended."""
        ...


class ContainerTarget:
    """See `chaos.outside.faults.server_termination`."""

    def __init__(self, server: ContainerServer, restarter: Restarter) -> None:
        self.server = self._server = server
        self.restarter = restarter
        self._engine = Engine(server)

    def terminable(self) -> TerminableServer:
        """A target for one fault, which remembers the engine that it killed."""
        return ContainerTarget(self._server, self.restarter)

    def pause(self) -> ActiveFault:
        """Prepare to freeze the container."""
        return ContainerPause(self._server)

    def runs(self) -> bool:
        """Whether the container runs."""
        return self._server.alive()

    def identity(self) -> Ended:
        """Process ids and the container, as evidence of what is ended."""
        container = self._server.container
        return Ended(
            pid=container.attrs["State"]["Pid"],
            pids=[process.pid for process in self._server.processes()],
            container=container.short_id,
        )

    def send(self, which: signal.Signals) -> None:
        """Send a signal to the container's first process; one that has ended is no error."""
        # Here, since a reader of the catalogue of faults need not load the client of Docker.
        from docker.errors import APIError

        try:
            self._server.container.kill(which.name)
        except APIError as error:
            if error.status_code not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise

    def kill_engine(self) -> Sequence[int]:
        """Kill the processes of the engine; returns their ids."""
        return self._engine.kill()

    def engine_gone(self) -> bool:
        """Whether the killed processes of the engine have ended."""
        return self._engine.gone()

    def ended(self) -> int | None:
        """Exit code of the server; None while the container runs."""
        return self._server.exit_code()


PAUSED = "paused"


class ContainerPause:
    """All processes paused by the kernel's freezer: they receive no signal until they resume.

    See `chaos.outside.injector.ActiveFault`.
    """

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._resuming = False

    def apply(self) -> None:
        """Freeze the container. Raises TargetNotRunning."""
        if not self._server.alive():
            raise TargetNotRunning("the server does not run")
        self._server.container.pause()

    def verify(self) -> Paused | None:
        """The Docker engine reports the status."""
        if self._resuming or self._status() != PAUSED:
            return None
        return Paused(container=self._server.container.short_id, status=PAUSED)

    def revert(self) -> None:
        """Resume the container; one that was removed is no error."""
        from docker.errors import APIError

        self._resuming = True
        try:
            self._server.container.unpause()
        except APIError as error:
            # It was not paused, or is gone: nothing stands still any more. Older engines answer 500.
            if error.status_code == HTTPStatus.NOT_FOUND:
                return
            if self._status() == PAUSED:
                raise

    def reverted(self) -> Continued | None:
        """Evidence that the container runs again; None until then."""
        status = self._status()
        return None if not self._resuming or status == PAUSED else Continued(status=status)

    def _status(self) -> str:
        container = self._server.container
        container.reload()
        status: str = container.status
        return status
