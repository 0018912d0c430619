"""Engines of one process group, with and without the chaos module: their start, blocks and end."""

from __future__ import annotations

import os
from collections.abc import Set
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.measured_server import (
    ARMED_POLL_S,
    ARMED_S,
    MEMORY_SHARE,
    READY_S,
    SEED,
    BenchFolders,
    BlockFailed,
    pinned,
    scenario,
)
from benchmarks.idle_cost.module_states import ModuleState, never_firing
from benchmarks.idle_cost.remote_calls import ServerEnded, call
from chaos.control_plane import ControlPlane
from history import layout
from kvchaos.paths import models_folder, state_folder
from kvchaos.planning.run_plan import RunRequest, make_run_dir, new_run_id
from kvchaos.polling import wait_until
from kvchaos.servers import tiny_model
from kvchaos.servers.served_model import tiny
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import MEMORY_SHARE_VARIABLE, device_of
from kvchaos.stacks.local_stack import LocalStack, make_folders
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import Launch, Listening, RunFolders, plan_launch
from kvchaos.stacks.server_files import PLAIN_PARTS, PLUGIN_PARTS, link_plugin

HOST_PARTS = ("benchmarks/__init__.py", "benchmarks/idle_cost")
HOST_MODULE = "benchmarks.idle_cost.engine_host"
SOCKET = "engines"
ENGINE_ARGS = ("--distributed-executor-backend", "uni", "--disable-log-stats")
"""The worker in the engine's own process."""
ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
UNUSED_PORT = 1
"""An engine has no API server."""
CONNECT_POLL_S = 0.2


class MeasuredEngines:
    """The host process of the engines. Engines are built in pairs, measured and ended."""

    def __init__(self, server: ServerEnv, folders: BenchFolders, processors: Set[int]) -> None:
        cache, runs = folders
        request = RunRequest(scenario=scenario("idle-engines", "absent"), server=server, seed=SEED, workers=1)
        run_id = new_run_id(request)
        self._server = server
        self._run_dir = make_run_dir(runs, run_id)
        self._registry = ProcessRegistry(
            state_folder(cache),
            run_id=run_id,
            run_dir=self._run_dir,
            control_dir=self._run_dir / layout.CONTROL,
        )
        self._weights = tiny(tiny_model.ensure_model(models_folder(cache)))
        self._folders = make_folders(self._run_dir, self._registry, HOST_PARTS)
        self._socket = self._folders.temp / SOCKET
        planned = self._launch("absent", self._folders)
        command = (planned.command[0], "-m", HOST_MODULE, str(self._socket))
        launch = Launch(command, planned.environment | ENVIRONMENT, UNUSED_PORT)
        self._stack = LocalStack(launch, self._folders, self._run_dir, self._registry)
        self._processors = processors
        self._connection: Connection | None = None
        self._controls: dict[str, ControlPlane] = {}
        """Of the engines that have the chaos module."""
        self._built = 0

    def start(self) -> None:
        """Start the host, and wait until it has imported vLLM. Raises BlockFailed."""
        with pinned(self._processors):
            self._stack.start()
        if not wait_until(lambda: self._connected() or not self._stack.alive(), READY_S, CONNECT_POLL_S):
            raise BlockFailed(f"the engines' process was not ready after {READY_S:g} s; see {self._log}")

    def build(self, name: str, state: ModuleState, layout_seed: int) -> None:
        """Build one more engine. Raises BlockFailed."""
        folder = self._run_dir / f"engine-{self._built}"
        self._built += 1
        parts = PLAIN_PARTS if state == "absent" else PLUGIN_PARTS
        own = RunFolders(
            temp=self._folders.temp, plugin=link_plugin(folder, parts), control=folder / layout.CONTROL
        )
        if state != "absent":
            self._controls[name] = ControlPlane(own.control)
        arguments = (*self._launch(state, own).command[3:], *ENGINE_ARGS)
        self._call("build", name, arguments, str(own.plugin), layout_seed)

    def block(self, first: int = 0) -> dict[str, Block]:
        """One block of load on each engine; see `engine_host.Host.block`. Raises BlockFailed."""
        for control in self._controls.values():
            control.renew()
        found = self._call("block", first)
        return {name: msgspec.convert(figures, Block) for name, figures in found.items()}

    def arm(self, name: str) -> None:
        """Arm faults that never fire; a block follows before the engine confirms. Raises BlockFailed."""
        control, faults = self._controls[name], never_firing()
        control.arm(SEED, faults)
        self.block()
        if not wait_until(lambda: control.confirmed("armed", faults, 0), ARMED_S, ARMED_POLL_S):
            raise BlockFailed(f"the engine did not report all faults armed within {ARMED_S:g} s")

    def calls(self) -> dict[str, tuple[int, int]]:
        """Calls of Python functions and of C functions by each engine during one block of its own."""
        found: dict[str, tuple[int, int]] = self._call("calls")
        return found

    def idle(self, seconds: float) -> dict[str, float]:
        """Processor time of each engine without a request, ms a second."""
        found: dict[str, float] = self._call("idle", seconds)
        return found

    def end_engines(self) -> None:
        """End the engines that were built."""
        self._controls.clear()
        self._call("end")

    def close(self) -> None:
        """End engines and host. Safe to repeat."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._stack.stop()
        self._registry.close()

    @property
    def _log(self) -> Path:
        return self._run_dir / layout.SERVER_LOG

    def _launch(self, state: ModuleState, folders: RunFolders) -> Launch:
        return plan_launch(
            self._server,
            scenario("idle-engines", state).server,
            self._weights,
            Listening(UNUSED_PORT),
            folders,
            device_of(self._server.platform, {MEMORY_SHARE_VARIABLE: MEMORY_SHARE, **os.environ}),
        )

    def _connected(self) -> bool:
        try:
            self._connection = Client(str(self._socket), family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def _call(self, method: str, *arguments: object) -> Any:
        if self._connection is None:
            raise BlockFailed(f"the engines' process ended; see {self._log}")
        self._stack.observe()
        try:
            return call(self._connection, method, *arguments)
        except ServerEnded as error:
            raise BlockFailed(f"the engines' process ended; see {self._log}") from error
