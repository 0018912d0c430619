"""Prometheus as a container of the run's project: brought up with the server, and taken down with it.

Where the server is to serve several runs, each run has a Prometheus of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from docker.models.containers import Container

from history import layout
from kvchaos.errors import UsageError
from kvchaos.prometheus.program import DATA
from kvchaos.stacks.compose.compose_stack import ComposeStack
from kvchaos.stacks.compose.container_runtime import runtime_errors_named
from kvchaos.stacks.compose.project import PROMETHEUS


class ComposePrometheus:
    """See `kvchaos.prometheus.run_monitor.ManagedPrometheus`."""

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        self._container: Container | None = None

    @property
    def _mounted(self) -> Path:
        """Where the container sees its configuration and writes its data."""
        return self._stack.folder / layout.PROMETHEUS_FOLDER

    @property
    def _of_the_run(self) -> Path:
        return self._stack.run_dir / layout.PROMETHEUS_FOLDER

    def start(self) -> None:
        if self._mounted != self._of_the_run:
            if self._mounted.exists():
                shutil.rmtree(self._mounted)
            shutil.copytree(self._of_the_run, self._mounted)
            (self._mounted / DATA).mkdir()
        self._container = self._stack.companion(PROMETHEUS)

    def check(self) -> None:
        if not self.runs():
            raise UsageError("Prometheus ended by itself; see its log in the run directory")

    def kill(self) -> None:
        if self._container is not None and self.runs():
            with runtime_errors_named("Prometheus cannot be killed"):
                self._container.kill()

    def revive(self) -> None:
        if self._container is not None and not self.runs():
            with runtime_errors_named("Prometheus does not start again"):
                self._container.start()

    def stop(self) -> None:
        """The project's end is its end, unless the server is to serve another run."""
        if self._container is None or self._mounted == self._of_the_run:
            return
        if self._stack.is_up:
            with runtime_errors_named("Prometheus cannot be removed"):
                self._container.stop()
                self._stack.save_log(self._container)
                self._container.remove(v=True)
            self._stack.observe()
        shutil.copytree(self._mounted, self._of_the_run, dirs_exist_ok=True)
        self._container = None

    def runs(self) -> bool:
        if self._container is None:
            return False
        with runtime_errors_named("the state of Prometheus"):
            self._container.reload()
        return self._container.status == "running"
