"""A server made ready to be started: its command, its model, its stack. Nothing runs yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history.scenario import ServerSettings
from kvchaos.paths import models_folder
from kvchaos.prometheus.run_monitor import Prometheus
from kvchaos.servers import tiny_model
from kvchaos.servers.served_model import ServedModel, tiny
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.command import HOST, Launch, Listening, plan_launch
from kvchaos.stacks.device import device_of
from kvchaos.stacks.local_stack import LocalStack, choose_port, make_folders
from kvchaos.stacks.plugin import PLAIN_PARTS, PLUGIN_PARTS
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.stack import Stack


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """The settings of a server to be started, and the folders for it."""

    server: ServerEnv
    settings: ServerSettings
    run_id: str
    run_dir: Path
    cache: Path
    port: int | None = None
    """On this machine; None: a free one."""
    host: str = HOST
    """Of local stacks: where the server listens."""
    grafana: bool = False
    """Of compose stacks: Grafana runs too, and stays with Prometheus when the run has ended."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the suite that the server can see."""
        return PLUGIN_PARTS if self.settings.chaos else PLAIN_PARTS


@dataclass(frozen=True, slots=True)
class PreparedServer:
    """The launch and model of a server for the plan, and the stack that starts it."""

    launch: Launch
    model: ServedModel
    stack: Stack
    prometheus: Prometheus | None = None
    """The one that is a part of the stack."""


def prepare_local(request: LaunchRequest, registry: ProcessRegistry) -> PreparedServer:
    """Processes of this machine. Raises UsageError."""
    served = tiny(tiny_model.ensure_model(models_folder(request.cache)))
    listening = Listening(choose_port(request.port, request.host), request.host)
    folders = make_folders(request.run_dir, registry, request.parts)
    launch = plan_launch(
        request.server, request.settings, served, listening, folders, device_of(request.server.platform)
    )
    return PreparedServer(launch, served, LocalStack(launch, folders, request.run_dir, registry))
