"""What a process holds must be counted as it is; one that ends meanwhile must not break the count."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from kvchaos.stacks.process_usage import PAGE_BYTES, ProcessUsage, usage_of

ME = [os.getpid()]
TOUCHED_BYTES = 64 << 20


def put(proc: Path, pid: int, *, links: dict[str, str], threads: int, statm: str) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    for name, target in links.items():
        (folder / "fd" / name).symlink_to(target)
    for number in range(threads):
        (folder / "task" / str(pid + number)).mkdir(parents=True)
    (folder / "statm").write_text(statm)


def test_sockets_and_other_files_are_counted_separately(tmp_path: Path) -> None:
    links = {"0": "/dev/null", "1": "pipe:[7]", "2": "anon_inode:[eventfd]", "3": "socket:[8]"}
    put(tmp_path, 5, links=links, threads=3, statm="900 100 40 1 0 60 0\n")
    assert usage_of([5], tmp_path) == ProcessUsage(
        processes=1,
        threads=3,
        files=3,
        sockets=1,
        resident_bytes=100 * PAGE_BYTES,
        anonymous_bytes=60 * PAGE_BYTES,
    )


def test_usage_sums_processes_and_ignores_exited_ones(tmp_path: Path) -> None:
    for pid in (5, 6):
        put(tmp_path, pid, links={"0": "/dev/null"}, threads=2, statm="9 8 4 1 0 1 0\n")
    both = usage_of([5, 6, 7], tmp_path)
    assert (both.processes, both.threads, both.files) == (2, 4, 2)
    assert both.anonymous_bytes == 8 * PAGE_BYTES


def test_usage_of_a_process_is_measured_by_kind() -> None:
    gate = threading.Event()
    before = usage_of(ME)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(open(os.devnull))  # noqa: PTH123 (a plain file descriptor)
        for _ in range(3):
            stack.enter_context(socket.socket())
        thread = threading.Thread(target=gate.wait)
        thread.start()
        stack.callback(thread.join)
        stack.callback(gate.set)
        memory = bytearray(os.urandom(1) * TOUCHED_BYTES)
        after = usage_of(ME)
        assert len(memory) == TOUCHED_BYTES
    assert (after.processes, after.threads - before.threads) == (1, 1)
    assert (after.files - before.files, after.sockets - before.sockets) == (5, 3)
    assert TOUCHED_BYTES <= after.anonymous_bytes - before.anonymous_bytes < 2 * TOUCHED_BYTES


def test_zombie_process_uses_no_resources() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        usage = usage_of([child.pid])
    assert (usage.files, usage.sockets, usage.resident_bytes) == (0, 0, 0)
