"""The command `kvchaos worker`: load workers that join runs of another machine."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Annotated

import typer

from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.planning.master_address import MasterAddress, master_address
from loadtests.child_process import start_with_stdin, wait_or_kill
from loadtests.messages import EXIT_NOT_NEEDED
from loadtests.open_files import raise_soft_limit

LOOK_S = 0.2
END_S = 10.0


def worker_command(
    master: Annotated[
        str, typer.Option(help="HOST:PORT of the conductor, as given there with --listen.")
    ] = "127.0.0.1",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Number of load workers.")] = 1,
    once: Annotated[
        bool, typer.Option("--once", help="End after one run. Default: wait for the next.")
    ] = False,
) -> int:
    """Send load for the runs of another machine (`kvchaos run --listen`), one run after another."""
    address = master_address(master)
    raise_soft_limit()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        with interrupts():
            workers = [_start(address) for _ in range(processes)]
            while workers:
                time.sleep(LOOK_S)
                workers = [
                    worker for old in workers if (worker := _next(old, address, once=once)) is not None
                ]
    except Interrupted:
        return 0
    finally:
        _end(workers)
    return 0


def _start(address: MasterAddress) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "loadtests.distributed.joining_worker"]
    command += ["--host", address.host, "--port", str(address.port)]
    # It leaves when its stdin ends, so also when this process was killed.
    return start_with_stdin(command)


def _next(
    worker: subprocess.Popen[bytes], address: MasterAddress, *, once: bool
) -> subprocess.Popen[bytes] | None:
    """The worker, or the one that takes its place when its run is over. Raises UsageError when it failed."""
    code = worker.poll()
    if code is None:
        return worker
    if code not in (0, EXIT_NOT_NEEDED):
        raise UsageError(f"a load worker (pid {worker.pid}) ended with code {code}")
    return None if once and code == 0 else _start(address)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    """What they have in flight is recorded; that takes a moment."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        wait_or_kill(worker, END_S)
