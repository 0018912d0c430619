"""Prometheus as a process of this machine, for one run: its data lie in the run directory and stay there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from history import layout
from history.plan import PrometheusPlan
from kvchaos.errors import UsageError
from kvchaos.prometheus.program import CONFIG, DATA, need_prometheus, version_of
from kvchaos.prometheus.run_monitor import Prometheus
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.process_group import end_group
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST
from kvchaos.stacks.stack import last_lines

GRACE_S = 10.0


def prometheus_command(program: Path, folder: Path, port: int) -> tuple[str, ...]:
    """Prometheus with the configuration in a folder, its data in the same."""
    return (
        str(program),
        f"--config.file={folder / CONFIG}",
        f"--storage.tsdb.path={folder / DATA}",
        # Of its log of samples, which else grows in pieces of 128 MB.
        "--storage.tsdb.wal-segment-size=10MB",
        f"--web.listen-address={HOST}:{port}",
    )


class LocalPrometheus:
    """Started and ended by us; it may be started again after an end, on the same data."""

    def __init__(self, plan: PrometheusPlan, run_dir: Path, record: ProcessRegistry) -> None:
        self._command = plan.command
        self._log = run_dir / layout.PROMETHEUS_LOG
        self._folder = run_dir / layout.PROMETHEUS_FOLDER
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None before the start."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Raises OSError when the record of the run cannot be written."""
        with self._log.open("ab") as log:
            self._process = self._record.start(
                self._command, what="prometheus", environment=os.environ, cwd=self._folder, log=log
            )

    def check(self) -> None:
        """Raises UsageError when it has ended by itself."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        tail = last_lines(self._log)
        last = f"; its last line: {tail[-1]}" if tail else ""
        raise UsageError(f"Prometheus ended with code {code}; see {self._log}{last}")

    def runs(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL; does nothing when it has ended."""
        if self._process is not None:
            self._process.kill()

    def revive(self) -> None:
        """Start it again when it has ended: its data keep the samples scraped until then."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()
            self.start()

    def stop(self) -> None:
        """Safe to repeat. Raises UsageError when it does not end; then it stays in the record."""
        if self._process is None:
            return
        if end_group(self._record.group(self._process.pid), GRACE_S).processes:
            raise UsageError(f"Prometheus (process {self._process.pid}) does not end; kill this process")
        self._process.wait()
        self._record.drop_group(self._process.pid)
        self._process = None


def plan_prometheus(run_dir: Path) -> PrometheusPlan:
    """A Prometheus of our own, on free ports. Raises UsageError when this machine has none."""
    program, port = need_prometheus(os.environ), choose_port(None)
    return PrometheusPlan(
        version=version_of(program),
        url=f"http://{HOST}:{port}",
        suite_port=choose_port(None),
        command=prometheus_command(program, run_dir / layout.PROMETHEUS_FOLDER, port),
    )


def local_prometheus(run_dir: Path, record: ProcessRegistry) -> Prometheus:
    """A Prometheus to be started for a run. Raises UsageError when this machine has none."""
    plan = plan_prometheus(run_dir)
    return Prometheus(plan, LocalPrometheus(plan, run_dir, record))
