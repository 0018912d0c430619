"""Strikes on a server in a container."""

from __future__ import annotations

from chaos.outside.containers.pause import ContainerPause
from chaos.outside.containers.server import ContainerServer, ContainerTarget
from chaos.outside.containers.squeeze import CpuSqueeze, MemorySqueeze
from chaos.outside.ending import ENDINGS, Lives
from chaos.outside.injector import Hold, Strike


class ContainerInjector:
    """By the engine's calls; signals to single processes where they are this machine's."""

    kinds = ("pause", *ENDINGS, "cpu_squeeze", "memory_squeeze")

    def __init__(self, server: ContainerServer, lives: Lives) -> None:
        self._server = server
        self._lives = lives

    def obstacle(self, kind: str) -> str | None:
        return None

    def hold(self, strike: Strike) -> Hold:
        match strike.kind:
            case "pause":
                return ContainerPause(self._server)
            case "cpu_squeeze":
                return CpuSqueeze(strike, self._server)
            case "memory_squeeze":
                return MemorySqueeze(strike, self._server, self._lives)
            case kind:
                return ENDINGS[kind](strike, ContainerTarget(self._server), self._lives)
