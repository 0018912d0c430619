"""All processes of a container stand still, by the kernel's freezer: no signal tells them of it."""

from __future__ import annotations

from http import HTTPStatus

from docker.errors import APIError

from chaos.outside.containers.server import ContainerServer
from chaos.outside.injector import NotThere
from history.protocol.outside import Continued, Paused

PAUSED = "paused"


class ContainerPause:
    """Until it goes on; see `chaos.outside.injector.Hold`."""

    def __init__(self, server: ContainerServer) -> None:
        self._server = server
        self._going_on = False

    def strike(self) -> None:
        if not self._server.alive():
            raise NotThere("the server does not run")
        self._server.container.pause()

    def proof(self) -> Paused | None:
        """The engine says so."""
        if self._going_on or self._status() != PAUSED:
            return None
        return Paused(container=self._server.container.short_id, status=PAUSED)

    def lift(self) -> None:
        self._going_on = True
        try:
            self._server.container.unpause()
        except APIError as error:
            # It was not paused, or is gone: nothing stands still any more. Older engines answer 500.
            if error.status_code == HTTPStatus.NOT_FOUND:
                return
            if self._status() == PAUSED:
                raise

    def lifted(self) -> Continued | None:
        status = self._status()
        return None if not self._going_on or status == PAUSED else Continued(status=status)

    def _status(self) -> str:
        container = self._server.container
        container.reload()
        status: str = container.status
        return status
