"""A server that is started here and serves several runs, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from history import layout
from history.records import ResourceRecord
from kvchaos.paths import state_folder
from kvchaos.prometheus.scraper import Samples
from kvchaos.stacks.prepare_server import LaunchRequest, PreparedServer
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_files import CollectedFiles

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
        """Those that it served, in order."""
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
