"""A server made ready to be started: its command, its model, its stack; for one run or for several."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.inside.fault_kind import FaultKind
from history import layout
from history.records import ResourceRecord
from history.scaling import ScaleName
from history.scenario import ServerSettings
from kvchaos.errors import UsageError
from kvchaos.paths import state_folder
from kvchaos.prometheus.run_monitor import Prometheus
from kvchaos.prometheus.scraper import Samples
from kvchaos.servers.served_model import ServedModel, hub_model, tiny, tiny_folder
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import device_of
from kvchaos.stacks.local_stack import LocalStack, choose_port, inherited, make_folders
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST, Launch, Listening, plan_launch
from kvchaos.stacks.server_files import PLAIN_PARTS, PLUGIN_PARTS, CollectedFiles, foreign_faults
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
    """Port on this machine; None: a free one."""
    host: str = HOST
    """Address on which the server of a local stack listens."""
    grafana: bool = False
    """Whether a compose stack runs Grafana, which stays with Prometheus when the run has ended."""
    scale: ScaleName = "tiny"
    host_memory: int | None = None
    """Memory of the host to plan for, bytes; None: of this machine."""

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
    served = local_model(request)
    listening = Listening(choose_port(request.port, request.host), request.host)
    folders = make_folders(request.run_dir, registry, request.parts)
    if request.settings.chaos:
        check_foreign_faults(request.server, folders.plugin)
    device = device_of(request.server.platform, scale=request.scale, host=request.host_memory)
    launch = plan_launch(request.server, request.settings, served, listening, folders, device)
    return PreparedServer(launch, served, LocalStack(launch, folders, request.run_dir, registry))


def local_model(request: LaunchRequest) -> ServedModel:
    """The model of a server that is processes of this machine; a GPU gets a real one beyond `tiny`."""
    if request.server.platform == "cuda" and request.scale != "tiny":
        return hub_model()
    return tiny(tiny_folder(request.cache))


CONTRACT_S = 300.0


def check_foreign_faults(server: ServerEnv, plugin: Path) -> None:
    """Run the contract cases of other packages' faults in the server's interpreter. Raises UsageError."""
    origins = {unit.value.name: unit.origin for unit in foreign_faults() if isinstance(unit.value, FaultKind)}
    if not origins:
        return
    command = [str(server.python), "-m", "chaos.inside.contract_cases", *origins]
    environment = {
        **inherited(os.environ),
        "PYTHONPATH": str(plugin),
        "LD_PRELOAD": ":".join(server.preload),
    }
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CONTRACT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        names = ", ".join(origins)
        raise UsageError(f"the contract cases of {names} did not end in {CONTRACT_S:g} s") from error
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    for case in cases:
        if case["problem"] is not None:
            raise UsageError(
                f"fault {case['kind']} of {origins[case['kind']]} does not keep its contract on "
                f"{server.name}: {case['case']}: {case['problem']}"
            )
    if done.returncode != 0 or {case["kind"] for case in cases} != origins.keys():
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise UsageError(f"the contract cases of {', '.join(origins)} did not run on {server.name}: {last}")


SUFFIX = ".server"

Prepare = Callable[[LaunchRequest, ProcessRegistry], PreparedServer]
"""Makes a server of some stack ready to be started. Raises UsageError."""


class KeptServer:
    """Its files lie in a folder of its own until it ends; each run has copies of what concerns it.

    It has one process registry, which names the run that uses it, and includes what that run starts.
    """

    def __init__(self, request: LaunchRequest, prepare: Prepare) -> None:
        """Make it ready for its first run, `request.run_id`. Raises UsageError."""
        folder = state_folder(request.cache) / f"{request.run_id}{SUFFIX}"
        self.registry = ProcessRegistry(
            state_folder(request.cache),
            run_id=request.run_id,
            run_dir=request.run_dir,
            control_dir=folder / layout.CONTROL,
        )
        self._folder = folder
        with ExitStack() as undo:
            undo.callback(self.registry.close)
            undo.callback(self._remove)
            self.registry.add_temp_folder(folder)
            folder.mkdir(mode=0o700)
            self.files = CollectedFiles(folder)
            self.prepared = prepare(replace(request, run_dir=folder), self.registry)
            undo.pop_all()
        self.runs: list[str] = []
        """Runs that it served, in order."""
        self.before_load: ResourceRecord | None = None
        """What it used before the first load of all; None until it was measured."""
        self.figures: Samples | None = None
        """Its metrics when it was last proved clean."""

    def serve(self, run_id: str, run_dir: Path) -> tuple[str, ...]:
        """Begin a run; the runs before it."""
        earlier = tuple(self.runs)
        self.registry.serve(run_id, run_dir)
        self.prepared.stack.serve(run_dir)
        self.files.begin(run_dir)
        self.runs.append(run_id)
        return earlier

    def close(self) -> None:
        """End it and remove what is its own. Safe to repeat. Raises ServerNotStopped, OSError."""
        with ExitStack() as steps:
            steps.callback(self.registry.close)
            steps.callback(self._remove)
            steps.callback(self.prepared.stack.stop)

    def _remove(self) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self.registry.drop_temp_folder(self._folder)
