"""A server of the local stack that serves several runs, one after the other."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from history import layout
from history.records import ResourceRecord
from kvchaos.paths import state_folder
from kvchaos.stacks.local import LocalStack
from kvchaos.stacks.prepare import Prepared, Wish, prepare_local
from kvchaos.stacks.record import RunRecord
from kvchaos.stacks.server_files import CollectedFiles
from kvchaos.telemetry import Samples

SUFFIX = ".server"


class KeptServer:
    """Its files lie in a folder of its own until it ends; each run has copies of what concerns it.

    It has one record, which names the run that uses it, and holds what that run starts, too.
    """

    def __init__(self, wish: Wish) -> None:
        """Make it ready for its first run, `wish.run_id`. Raises UsageError."""
        folder = state_folder(wish.cache) / f"{wish.run_id}{SUFFIX}"
        self.record = RunRecord(
            state_folder(wish.cache),
            run_id=wish.run_id,
            run_dir=wish.run_dir,
            control_dir=folder / layout.CONTROL,
        )
        self._folder = folder
        self.record.add_temp_folder(folder)
        folder.mkdir(mode=0o700)
        self.files = CollectedFiles(folder)
        self.prepared, self._stack = self._prepare(replace(wish, run_dir=folder))
        self.runs: list[str] = []
        """Those that it served, in order."""
        self.before_load: ResourceRecord | None = None
        """What it held before the first load of all; None until it was seen."""
        self.figures: Samples | None = None
        """Its metrics when it was last proved clean."""

    def serve(self, run_id: str, run_dir: Path) -> tuple[str, ...]:
        """Begin a run; the runs before it."""
        earlier = tuple(self.runs)
        self.record.serve(run_id, run_dir)
        self._stack.named_log = run_dir / layout.SERVER_LOG
        self.files.begin(run_dir)
        self.runs.append(run_id)
        return earlier

    def close(self) -> None:
        """End it and remove what is its own. Safe to repeat. Raises ServerNotStopped, OSError."""
        with ExitStack() as steps:
            steps.callback(self.record.close)
            steps.callback(self._remove)
            steps.callback(self._stack.stop)

    def _prepare(self, wish: Wish) -> tuple[Prepared, LocalStack]:
        try:
            prepared = prepare_local(wish, self.record)
        except BaseException:
            self._remove()
            self.record.close()
            raise
        assert isinstance(prepared.stack, LocalStack)
        return prepared, prepared.stack

    def _remove(self) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self.record.drop_temp_folder(self._folder)
