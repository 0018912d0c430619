"""A server made ready to be started: its command, its model, its stack. Nothing runs yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history.plan import ServerSettings
from kvchaos import model
from kvchaos.paths import models_folder
from kvchaos.served_model import ServedModel, tiny
from kvchaos.servers.registry import ServerEnv
from kvchaos.stacks.command import Launch, Listening, plan_launch
from kvchaos.stacks.device import device_of
from kvchaos.stacks.local import PLAIN_PARTS, PLUGIN_PARTS, LocalStack, choose_port, make_folders
from kvchaos.stacks.record import RunRecord
from kvchaos.stacks.stack import Stack


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a plan tells of a server, and the stack that starts it."""

    launch: Launch
    model: ServedModel
    stack: Stack


def prepare_local(
    server: ServerEnv,
    settings: ServerSettings,
    *,
    cache: Path,
    port: int | None,
    run_dir: Path,
    record: RunRecord,
) -> Prepared:
    """Processes of this machine. Raises UsageError."""
    served = tiny(model.ensure_model(models_folder(cache)))
    listening = Listening(choose_port(port))
    folders = make_folders(run_dir, record, PLUGIN_PARTS if settings.chaos else PLAIN_PARTS)
    launch = plan_launch(server, settings, served, listening, folders, device_of(server.platform))
    return Prepared(launch, served, LocalStack(launch, folders, run_dir, record))
