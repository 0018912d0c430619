"""Load workers that join, without a conductor: the master, and workers as `kvchaos worker` starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.processes import LoadProcesses
from tests.support.free_port import free_port
from tests.support.load_processes import PATIENCE_S

ROOT = Path(__file__).parents[2]


@dataclass
class Joining:
    """A master with its workers."""

    load: LoadProcesses
    port: int
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def worker(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """One worker; it leaves with the block at the latest, since its stdin ends."""
    command = [
        sys.executable,
        "-m",
        "loadtests.distributed.joining_worker",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, process_group=0) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()


@contextmanager
def joining(run_dir: Path, plan: Path, workers: int = 2) -> Iterator[Joining]:
    """The master of so many workers, and these; the load is closed with the block."""
    port = free_port()
    load = LoadProcesses(run_dir, plan, workers, run_dir / "loader.log", join=f"127.0.0.1:{port}")
    load.start()
    with ExitStack() as started:
        try:
            processes = [started.enter_context(worker(port)) for _ in range(workers)]
            yield Joining(load, port, processes)
        finally:
            load.close()
