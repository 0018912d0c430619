"""A server in a container, with Prometheus beside it: `kvchaos.stacks.stack.Stack` by Docker Compose."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from chaos.outside.faults.server_termination import Restarter
from chaos.outside.server_targets import ContainerTarget
from history import layout
from history.events import ContainerAction, ServerStart
from history.records import ResourceRecord
from kvchaos.errors import UsageError
from kvchaos.stacks.compose.docker_engine import (
    DOCKER_ERRORS,
    SERVICE_LABEL,
    ContainerEvents,
    containers_of,
    docker_errors_named,
    remove_project,
)
from kvchaos.stacks.compose.project import SERVER, environment
from kvchaos.stacks.process_group import Process, end_group, send
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.process_usage import container_processes, container_resources
from kvchaos.stacks.server_command import Launch
from kvchaos.stacks.stack import GRACE_S, ServerNotStopped, last_lines, wait_until_healthy
from loadtests.child_process import logged_child

FILE = "compose.yaml"
LOG = "compose.log"
SIGNAL_CODE = 128
"""A shell and Docker report an end by a signal as this plus the number of the signal."""
REMOVED_BY_OTHERS = -9
DOWN_S = 120.0


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """Options of a project that is brought up and down."""

    name: str
    grafana: bool = False
    """Grafana runs too, and stays with Prometheus when the run has ended."""


class ComposeStack:
    """One container is the server through all its incarnations."""

    def __init__(
        self,
        client: docker.DockerClient,
        options: ComposeOptions,
        launch: Launch,
        run_dir: Path,
        registry: ProcessRegistry,
    ) -> None:
        """`run_dir` is the project's folder: one of its own where the server is to serve several runs."""
        self.launch = launch
        self.folder = run_dir
        """Holds the files that are mounted into the containers."""
        self.run_dir = run_dir
        """Directory of the run that uses the server now."""
        self._client = client
        self._options = options
        self._registry = registry
        self._container_events = ContainerEvents(client, options.name)
        self._pending_events: deque[ContainerAction] = deque()
        self._server: Container | None = None
        self._ended: int | None = None

    @property
    def container(self) -> Container:
        """The server's. Raises RuntimeError before the first start."""
        if self._server is None:
            raise RuntimeError("the server was not started yet")
        return self._server

    def companion(self, service: str) -> Container:
        """Another container of the project, which is brought up for it if need be. Raises UsageError."""
        self._up(service)
        with docker_errors_named(f"container of {service}"):
            (found,) = containers_of(self._client, self._options.name, service)
        return found

    def identity(self) -> ServerStart:
        """Process id, port, container and project. Raises UsageError."""
        with docker_errors_named("server"):
            return ServerStart(
                pid=self._state("Pid"),
                port=self.launch.port,
                container=self.container.short_id,
                project=self._options.name,
            )

    def start(self) -> None:
        """Start the project, or restart the server's container after its end. Raises UsageError."""
        if self.alive():
            raise RuntimeError("the server runs")
        self._ended = None
        if self._server is not None:
            with docker_errors_named("the server does not start again"):
                self._server.start()
                self._server.reload()
            return
        (self.folder / layout.SERVER_LOG).touch()
        self._up(*(() if self._options.grafana else (SERVER,)))
        with docker_errors_named("the server's container"):
            (self._server,) = containers_of(self._client, self._options.name, SERVER)

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until `/health` answers 200. Raises UsageError after the deadline or an exit."""
        log, named = (folder / layout.SERVER_LOG for folder in (self.folder, self.run_dir))
        wait_until_healthy(self, self.launch, log, deadline_s, named)

    def alive(self) -> bool:
        """Whether the container runs."""
        return self._server is not None and self.exit_code() is None

    def exit_code(self) -> int | None:
        """Exit code of the container; None while it runs."""
        if self._server is None or self._ended is not None:
            return self._ended
        with docker_errors_named("the state of the server's container"):
            try:
                self._server.reload()
            except NotFound:
                self._ended = REMOVED_BY_OTHERS
                return self._ended
        if self._state("Running"):
            return None
        return _code(self._state("ExitCode"))

    def observe(self) -> None:
        """Register new processes, and collect events of the containers."""
        self._registry.observe()
        with docker_errors_named("events of the containers"):
            self._pending_events += self._container_events.new()

    def container_events(self) -> Sequence[ContainerAction]:
        """Events of the containers since the last call."""
        pending = tuple(self._pending_events)
        self._pending_events.clear()
        return pending

    def resources(self) -> ResourceRecord | None:
        """Usage of the container; None while it does not run."""
        if not self.alive():
            return None
        return container_resources(self._state("Pid"), self.container.id or "")

    def processes(self) -> list[Process]:
        """Running processes of the server by their ids on this machine; empty when they are not visible."""
        if not self.alive():
            return []
        return container_processes(self._state("Pid"), self.container.id or "")

    def signal_one(self, pid: int, which: signal.Signals) -> None:
        """Send a signal to one of them; does nothing when it has ended."""
        if any(process.pid == pid for process in self.processes()):
            send(os.kill, pid, which)

    def fault_target(self, restarter: Restarter) -> ContainerTarget:
        """The container as the target of faults from outside."""
        return ContainerTarget(self, restarter)

    def serve(self, run_dir: Path) -> None:
        """Report to another run directory from now on."""
        self.run_dir = run_dir
        shutil.copyfile(self.folder / FILE, run_dir / FILE)

    @property
    def is_up(self) -> bool:
        """Whether the project has containers that are to be taken down."""
        return self._options.name in self._registry.state.projects

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Whatever fails before, the project is taken down."""
        try:
            self._end_server(grace_s)
            self.observe()
            self._save_logs()
        finally:
            self._leave(grace_s)

    def _state(self, name: str) -> int:
        value: int = self.container.attrs["State"][name]
        return value

    def _end_server(self, grace_s: float) -> None:
        if self._server is None or not self.alive():
            return
        with docker_errors_named("the server's container does not stop"):
            if self._server.status == "paused":
                self._server.unpause()
            self._server.stop(timeout=round(grace_s))
        self._ended = self.exit_code()

    def _up(self, *services: str) -> None:
        """Registered before it begins, so that a later command finds what a killed one has made."""
        self._registry.add_project(self._options.name)
        command = self._compose("up", "--detach", "--no-build", "--quiet-pull", *services)
        with (self.run_dir / LOG).open("ab") as log:
            process = self._registry.start(
                command, what="compose", environment=environment({}), cwd=self.folder, log=log
            )
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                end_group(self._registry.group(process.pid), GRACE_S)
                process.wait()
            self._registry.drop_group(process.pid)
        if code != 0:
            last_line = last_lines(self.run_dir / LOG, 1) or ("no output",)
            raise UsageError(f"docker compose up: {last_line[0]}; see {self.run_dir / LOG}")

    def _save_logs(self) -> None:
        """Save the logs of the server's companions; the server writes its own."""
        with docker_errors_named("logs of the containers"):
            for container in containers_of(self._client, self._options.name):
                if container.labels[SERVICE_LABEL] != SERVER:
                    self.save_log(container)

    def save_log(self, companion: Container) -> None:
        """Into the directory of the run. Raises docker.errors.DockerException."""
        service = companion.labels[SERVICE_LABEL]
        (self.run_dir / f"{service}.log").write_bytes(companion.logs())

    def _leave(self, grace_s: float) -> None:
        try:
            if not self.is_up:
                return
            if not self._options.grafana:
                self._down(grace_s)
            self._registry.drop_project(self._options.name)
        finally:
            self._client.close()

    def _down(self, grace_s: float) -> None:
        """Remove all by Compose, then by label what it left."""
        command = self._compose("down", "--volumes", "--remove-orphans", "--timeout", str(round(grace_s)))
        with (
            (self.run_dir / LOG).open("ab") as log,
            # Of a group of its own, so that no signal for us cuts it short.
            logged_child(command, log, cwd=self.folder, environment=environment({})) as process,
            suppress(subprocess.TimeoutExpired),
        ):
            process.wait(DOWN_S + grace_s)
        try:
            remove_project(self._client, self._options.name)
        except DOCKER_ERRORS as error:
            raise ServerNotStopped(
                f"containers of project {self._options.name} remain: {error}; run kvchaos clean"
            ) from error

    def _compose(self, *arguments: str) -> tuple[str, ...]:
        profile = ("--profile", "grafana") if self._options.grafana else ()
        file = ("--project-name", self._options.name, "--file", str(self.folder / FILE))
        return ("docker", "compose", "--progress", "plain", *file, *profile, *arguments)


def _code(pending: int) -> int:
    return SIGNAL_CODE - pending if pending > SIGNAL_CODE else pending
