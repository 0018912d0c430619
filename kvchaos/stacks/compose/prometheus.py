"""Prometheus as a container of the run's project: brought up with the server, and taken down with it."""

from __future__ import annotations

from docker.models.containers import Container

from kvchaos.errors import UsageError
from kvchaos.stacks.compose.engine import asking
from kvchaos.stacks.compose.project import PROMETHEUS
from kvchaos.stacks.compose.stack import ComposeStack


class ComposePrometheus:
    """See `kvchaos.witness.witness.Service`."""

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        self._container: Container | None = None

    def start(self) -> None:
        self._container = self._stack.companion(PROMETHEUS)

    def check(self) -> None:
        if not self.runs():
            raise UsageError("Prometheus ended by itself; see its log in the run directory")

    def kill(self) -> None:
        if self._container is not None and self.runs():
            with asking("Prometheus cannot be killed"):
                self._container.kill()

    def revive(self) -> None:
        if self._container is not None and not self.runs():
            with asking("Prometheus does not start again"):
                self._container.start()

    def stop(self) -> None:
        """The project's end is its end."""

    def runs(self) -> bool:
        if self._container is None:
            return False
        with asking("the state of Prometheus"):
            self._container.reload()
        return self._container.status == "running"
