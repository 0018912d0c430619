"""Pauses all processes of a container by the kernel's freezer: they receive no signal."""

from __future__ import annotations

from http import HTTPStatus

from docker.errors import APIError

from chaos.outside.containers.container_server import ContainerServer
from chaos.outside.injector import TargetNotRunning
from history.protocol.outside import Continued, Paused

PAUSED = "paused"


class ContainerPause:
    """Paused until it resumes; see `chaos.outside.injector.ActiveFault`."""

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._resuming = False

    def apply(self) -> None:
        if not self._server.alive():
            raise TargetNotRunning("the server does not run")
        self._server.container.pause()

    def verify(self) -> Paused | None:
        """The Docker engine reports the status."""
        if self._resuming or self._status() != PAUSED:
            return None
        return Paused(container=self._server.container.short_id, status=PAUSED)

    def revert(self) -> None:
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
        status = self._status()
        return None if not self._resuming or status == PAUSED else Continued(status=status)

    def _status(self) -> str:
        container = self._server.container
        container.reload()
        status: str = container.status
        return status
