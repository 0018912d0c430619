"""A stand-in for a server's process tree: a leader that answers /health, and children in its process group.

Run as a script. Its output is the server log of the tests.
"""

from __future__ import annotations

import argparse
import http.server
import json
import mmap
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import NoReturn

MAKE_EVERY_S = 0.005
MOST_MADE = 1000


class Health(http.server.BaseHTTPRequestHandler):
    """Answers every GET with status 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep the log to what the tests look for."""


def use_shared_memory(name: str) -> NoReturn:
    """Map a file as the C library does for a semaphore; leave a registration as libiomp does."""
    shared = Path("/dev/shm", name)
    if shared.exists():
        descriptor = os.open(shared, os.O_RDWR)
    else:
        made = shared.with_suffix(".made")
        descriptor = os.open(made, os.O_RDWR | os.O_CREAT)
        os.truncate(descriptor, mmap.PAGESIZE)
        shared.hardlink_to(made)
        made.unlink()
    mapping = mmap.mmap(descriptor, mmap.PAGESIZE)
    # Python's mmap keeps a descriptor of its own; the C library keeps none.
    os.closerange(3, 256)
    Path(f"/dev/shm/__KMP_REGISTERED_LIB_{os.getpid()}_0").write_bytes(b"registered")
    wait_for_signals(mapping)


def make_shared_memory(prefix: str) -> tuple[SharedMemory, object]:
    """A block and a semaphore, as vLLM makes them, with their tracker; the prefix is in both names."""
    vars(multiprocessing.current_process())["_config"]["semprefix"] = f"/{prefix}"
    lock = multiprocessing.get_context("spawn").Lock()
    return SharedMemory(f"{prefix}-{time.monotonic_ns()}", create=True, size=mmap.PAGESIZE), lock


def make_endlessly(prefix: str) -> NoReturn:
    """Create shared memory until the process is killed."""
    made = []
    for _ in range(MOST_MADE):
        made.append(make_shared_memory(prefix))
        time.sleep(MAKE_EVERY_S)
    wait_for_signals(made)


def make_when_orphaned(prefix: str) -> NoReturn:
    """As a child that is just coming up when its leader ends."""
    made, parent = [make_shared_memory(prefix)], os.getppid()
    made.append(make_shared_memory(prefix))
    while os.getppid() == parent:
        time.sleep(MAKE_EVERY_S)
    made.append(make_shared_memory(prefix))
    wait_for_signals(made)


def wait_for_signals(*resources: object) -> NoReturn:
    """Sleep until a signal ends the process, and keep the resources alive."""
    while True:
        signal.pause()


def fork_child(given: argparse.Namespace | None = None) -> int:
    """`given`: what the first child does; others do nothing."""
    pid = os.fork()
    if pid:
        return pid
    if given is None:
        wait_for_signals()
    if given.engine:
        Path("/proc/self/comm").write_text("VLLM::EngineCore")
    if given.stray:
        os.setsid()
    if given.shm is not None:
        use_shared_memory(given.shm)
    if given.endless_shm is not None:
        make_endlessly(given.endless_shm)
    if given.orphan_shm is not None:
        make_when_orphaned(given.orphan_shm)
    wait_for_signals()


def main() -> None:
    """Run a server process with the children, shared memory and signal handling that options name."""
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--children", type=int, default=2)
    options.add_argument("--stubborn", action="store_true", help="leader and children ignore SIGTERM")
    options.add_argument("--engine", action="store_true", help="the first child is called as vLLM's engine")
    options.add_argument("--shm", help="name of a file under /dev/shm that the first child uses")
    options.add_argument("--endless-shm", help="in the names of what the first child makes again and again")
    options.add_argument("--orphan-shm", help="in the names of what it makes at once, and after its leader")
    options.add_argument("--stray", action="store_true", help="the first child leaves the process group")
    options.add_argument("--exit", type=int, help="the leader exits with this code when its children run")
    options.add_argument("--mute", action="store_true", help="never answer")
    options.add_argument("--pids", type=Path, required=True, help="file that gets all process ids")
    given = options.parse_args()
    if given.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    first = [fork_child(given)] if given.children else []
    children = [*first, *(fork_child() for _ in range(given.children - 1))]
    draft = given.pids.with_suffix(".draft")
    draft.write_text(json.dumps([os.getpid(), *children]))
    draft.replace(given.pids)
    sys.stderr.write("children run\n")
    if given.exit is not None:
        sys.stderr.write("\x1b[31mRuntimeError: no more blocks\x1b[0m\n\n^^^^^^^^\n")
        # As in a crash: nobody tells the children.
        os._exit(given.exit)
    if given.mute:
        wait_for_signals()
    http.server.HTTPServer(("127.0.0.1", given.port), Health).serve_forever()


if __name__ == "__main__":
    main()
