"""Applies faults to a server in a container."""

from __future__ import annotations

from chaos.outside.containers.container_pause import ContainerPause
from chaos.outside.containers.container_server import ContainerServer, ContainerTarget
from chaos.outside.containers.resource_limits import CpuLimit, MemoryLimit
from chaos.outside.injector import ActiveFault, DueInjection
from chaos.outside.server_termination import TERMINATIONS, Restarter


class ContainerInjector:
    """Uses the Docker engine; signals single processes where they run on this machine."""

    kinds = ("pause", *TERMINATIONS, "cpu_squeeze", "memory_squeeze")

    def __init__(self, server: ContainerServer, restarter: Restarter) -> None:
        self._server = server
        self._restarter = restarter

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        match injection.kind:
            case "pause":
                return ContainerPause(self._server)
            case "cpu_squeeze":
                return CpuLimit(injection, self._server)
            case "memory_squeeze":
                return MemoryLimit(injection, self._server, self._restarter)
            case kind:
                return TERMINATIONS[kind](injection, ContainerTarget(self._server), self._restarter)
