"""A run's project made ready to be brought up: its folders, its resolved file, its stack, its Prometheus."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from docker.models.containers import Container

from history import layout
from history.plan import PrometheusPlan
from kvchaos.errors import UsageError
from kvchaos.paths import state_folder
from kvchaos.prometheus.program import DATA
from kvchaos.prometheus.run_monitor import Prometheus
from kvchaos.servers.served_model import ServedModel, hub_folder, hub_model, tiny, tiny_folder
from kvchaos.stacks.compose.compose_stack import FILE, ComposeOptions, ComposeStack
from kvchaos.stacks.compose.docker_engine import connect, docker_errors_named, remove_orphaned_projects
from kvchaos.stacks.compose.image_builder import present_images
from kvchaos.stacks.compose.images import PROMETHEUS_VARIABLE, Images, image_variables
from kvchaos.stacks.compose.project import (
    INSIDE,
    MODEL_INSIDE,
    PROMETHEUS,
    Project,
    owner,
    project_files,
    server_part,
)
from kvchaos.stacks.device import GIB, Device, Platform, device_of
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.prepare_server import LaunchRequest, PreparedServer
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST, Launch, Listening, plan_launch
from kvchaos.stacks.server_files import copy_plugin


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
        """Start the container with the configuration of the run."""
        if self._mounted != self._of_the_run:
            if self._mounted.exists():
                shutil.rmtree(self._mounted)
            shutil.copytree(self._of_the_run, self._mounted)
            (self._mounted / DATA).mkdir()
        self._container = self._stack.companion(PROMETHEUS)

    def check(self) -> None:
        """Raise UsageError when the container has ended by itself."""
        if not self.runs():
            raise UsageError("Prometheus ended by itself; see its log in the run directory")

    def kill(self) -> None:
        """Kill the container, for a fault."""
        if self._container is not None and self.runs():
            with docker_errors_named("Prometheus cannot be killed"):
                self._container.kill()

    def revive(self) -> None:
        """Start the killed container again, on the same data."""
        if self._container is not None and not self.runs():
            with docker_errors_named("Prometheus does not start again"):
                self._container.start()

    def stop(self) -> None:
        """The project's end is its end, unless the server is to serve another run."""
        if self._container is None or self._mounted == self._of_the_run:
            return
        if self._stack.is_up:
            with docker_errors_named("Prometheus cannot be removed"):
                self._container.stop()
                self._stack.save_log(self._container)
                self._container.remove(v=True)
            self._stack.observe()
        shutil.copytree(self._mounted, self._of_the_run, dirs_exist_ok=True)
        self._container = None

    def runs(self) -> bool:
        """Whether the container runs."""
        if self._container is None:
            return False
        with docker_errors_named("the state of Prometheus"):
            self._container.reload()
        return self._container.status == "running"


PROMETHEUS_PORT_VARIABLE = "KVCHAOS_PROMETHEUS_PORT"
SHM_BESIDE_TIER = 2 * GIB
"""Shared memory for messages between the server's processes."""
CPU_PERIOD_US = 20_000
"""Period as in compose.cpu.yaml."""
CPU_LEFT = 0.25
"""Share of a processor for the load generator and the suite; the server may use the rest. Without this share
the kernel gave them no processor for up to 5 s, since it schedules containers as one group."""
SERVER_MEMORY_VARIABLE = "KVCHAOS_SERVER_MEMORY"
MEMORY_BESIDE_TIER = 64 * GIB
"""For the processes of a server and the files of its model."""


@dataclass(frozen=True, slots=True)
class PlannedProject:
    """A project as it would be brought up, and how its server starts. Nothing was made for it."""

    project: Project
    launch: Launch
    model: ServedModel
    prometheus_port: int


def plan_project(request: LaunchRequest, images: Images) -> PlannedProject:
    """Raises UsageError."""
    platform = request.server.platform
    device = device_of(platform, scale=request.scale, host=request.host_memory)
    served, folder = _model(platform, request.cache)
    listening = Listening(choose_port(request.port), HOST)
    launch = plan_launch(request.server, request.settings, served, listening, INSIDE, device)
    prometheus_port = choose_port(_port(PROMETHEUS_PORT_VARIABLE))
    overlays = _overlays(request)
    if images.prometheus_is_built:
        overlays.append("prometheus")
    project = Project(
        name=f"kvchaos-{request.run_id}",
        files=project_files(*overlays),
        variables={
            "KVCHAOS_RUN": request.run_id,
            "KVCHAOS_STATE": str(state_folder(request.cache)),
            "KVCHAOS_RUN_DIR": str(request.run_dir),
            "KVCHAOS_USER": owner(),
            "KVCHAOS_PORT": str(launch.port),
            PROMETHEUS_PORT_VARIABLE: str(prometheus_port),
            "KVCHAOS_HUB": str(hub_folder()),
            "KVCHAOS_SHM": str((device.tier_limit or 0) + SHM_BESIDE_TIER),
            "KVCHAOS_SERVER_CPU_US": str(round(((os.cpu_count() or 1) - CPU_LEFT) * CPU_PERIOD_US)),
            **_server_memory(request, device),
            **image_variables(images),
        },
        run_overlay=server_part(launch, folder),
        grafana=request.grafana,
    )
    return PlannedProject(project, launch, served, prometheus_port)


def _overlays(request: LaunchRequest) -> list[str]:
    """The files of the server's platform."""
    if request.server.platform == "cpu":
        return ["cpu"]
    return ["gpu", "all-gpus" if request.scale == "node" else "one-gpu"]


def _server_memory(request: LaunchRequest, device: Device) -> dict[str, str]:
    """The limit of a server with a large tier, unless the user set one; else that of the file."""
    if request.scale == "tiny" or device.tier_limit is None or os.environ.get(SERVER_MEMORY_VARIABLE):
        return {}
    return {SERVER_MEMORY_VARIABLE: str(device.tier_limit + MEMORY_BESIDE_TIER)}


def prepare_compose(request: LaunchRequest, registry: ProcessRegistry) -> PreparedServer:
    """Make what the project's containers are given of this machine. Raises UsageError."""
    client = connect()
    with ExitStack() as unless_made:
        unless_made.callback(client.close)
        with docker_errors_named("containers that an earlier run has left"):
            # It may have the ports that this one wants.
            remove_orphaned_projects(client, state_folder(request.cache))
        project_plan = plan_project(
            request, present_images(client, request.server.platform, request.server.name)
        )
        resolved = project_plan.project.resolved()
        _make_folders(request)
        unless_made.pop_all()
    (request.run_dir / FILE).write_text(resolved, encoding="utf-8")
    options = ComposeOptions(project_plan.project.name, grafana=request.grafana)
    stack = ComposeStack(client, options, project_plan.launch, request.run_dir, registry)
    return PreparedServer(project_plan.launch, project_plan.model, stack, _prometheus(project_plan, stack))


def _prometheus(project_plan: PlannedProject, stack: ComposeStack) -> Prometheus:
    image = project_plan.project.variables[PROMETHEUS_VARIABLE]
    url = f"http://{HOST}:{project_plan.prometheus_port}"
    plan = PrometheusPlan(version=image, url=url, suite_port=choose_port(None))
    return Prometheus(plan, ComposePrometheus(stack))


def _make_folders(request: LaunchRequest) -> None:
    """Made here, since Docker makes folders that are missing, and makes them root's."""
    copy_plugin(request.run_dir, request.parts)
    (request.run_dir / layout.CONTROL).mkdir(mode=0o755, exist_ok=True)
    (request.run_dir / layout.SERVER_LOG).touch()
    (request.run_dir / layout.PROMETHEUS_FOLDER / DATA).mkdir(parents=True, exist_ok=True)
    if request.server.platform == "cuda":
        hub_folder().mkdir(parents=True, exist_ok=True)


def _model(platform: Platform, cache: Path) -> tuple[ServedModel, Path | None]:
    """The model as the server sees it, and its folder on this machine if it has one."""
    if platform == "cpu":
        folder = tiny_folder(cache)
        return replace(tiny(folder), name=MODEL_INSIDE), folder
    served = hub_model()
    if not Path(served.name).is_absolute():
        return served, None
    return replace(served, name=MODEL_INSIDE), Path(served.name)


def _port(variable: str) -> int | None:
    text = os.environ.get(variable)
    if text and not text.isdigit():
        raise UsageError(f"{variable} is {text!r}: use a number from 1 to 65535")
    return int(text) if text else None
