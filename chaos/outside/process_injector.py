"""Faults on the processes of a server that runs on this machine, by signals."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Protocol

from chaos.outside.injector import ActiveFault, DueInjection, TargetNotRunning, TargetNotVisible
from chaos.outside.server_termination import TERMINATIONS, Restarter
from history.protocol.outside import Continued, Ended, Paused

STOPPED = "T"
ENGINE = "VLLM::EngineCor"
"""What vLLM calls the process of its engine, as far as the kernel keeps a name."""


class ServerProcess(Protocol):
    """A process of the server, as the kernel reports it."""

    @property
    def pid(self) -> int: ...

    @property
    def name(self) -> str: ...

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
        """Send a signal to one of them; to nobody when it is gone."""
        ...

    def signal_all(self, which: signal.Signals) -> None:
        """Send a signal to all of them at once; to nobody when the server is gone."""
        ...


class HasProcesses(Protocol):
    """A server with individually visible processes, wherever it runs."""

    def processes(self) -> Sequence[ServerProcess]: ...

    def signal_one(self, pid: int, which: signal.Signals) -> None: ...


class Engine:
    """The process of a server's engine, which is found by its name."""

    def __init__(self, server: HasProcesses) -> None:
        self._server = server
        self._killed: set[int] = set()

    def kill(self) -> Sequence[int]:
        """SIGKILL to it alone; its processes. Raises NotVisible when it cannot be found."""
        self._killed = {process.pid for process in self._server.processes() if process.name == ENGINE}
        if not self._killed:
            raise TargetNotVisible(f"no process named {ENGINE} of the server is to be seen from here")
        for pid in self._killed:
            self._server.signal_one(pid, signal.SIGKILL)
        return sorted(self._killed)

    def gone(self) -> bool:
        """Whether what was killed has ended."""
        return self._killed.isdisjoint(process.pid for process in self._server.processes())


class ProcessInjector:
    """Signals to a server on this machine."""

    kinds = ("pause", *TERMINATIONS)

    def __init__(self, server: Server, restarter: Restarter) -> None:
        self._server = server
        self._restarter = restarter

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        if injection.kind == "pause":
            return _Pause(self._server)
        return TERMINATIONS[injection.kind](injection, _LocalTarget(self._server), self._restarter)


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


class _LocalTarget:
    """A process group to terminate."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._engine = Engine(server)

    def runs(self) -> bool:
        return bool(self._server.processes())

    def identity(self) -> Ended:
        pids = [process.pid for process in self._server.processes()]
        return Ended(pid=self._server.pid, pids=pids)

    def send(self, which: signal.Signals) -> None:
        if which is signal.SIGKILL:
            self._server.signal_all(which)
        elif self._server.pid is not None:
            self._server.signal_one(self._server.pid, which)

    def kill_engine(self) -> Sequence[int]:
        return self._engine.kill()

    def engine_gone(self) -> bool:
        return self._engine.gone()

    def ended(self) -> int | None:
        return None if self.runs() else self._server.exit_code()
