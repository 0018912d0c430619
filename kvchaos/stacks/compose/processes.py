"""The processes of a container as this machine sees them, and what they hold."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from history.records import ResourceRecord
from kvchaos.stacks.holdings import GONE, holdings_of
from kvchaos.stacks.process_group import PROC, Process, read_process
from kvchaos.stacks.shared_memory import STAT_BLOCK_BYTES


def container_processes(first: int, container: str, proc: Path = PROC) -> list[Process]:
    """The container's running processes; empty when they cannot be seen from here. See below for `first`."""
    if not _is_of(first, container, proc):
        return []
    found = (read_process(pid, proc) for pid in _tree(first, proc))
    return [process for process in found if process is not None and process.runs]


def container_resources(first: int, container: str, proc: Path = PROC) -> ResourceRecord | None:
    """What the container's processes hold now; None when they cannot be seen from here.

    `first` is the process id of its first process by the engine's word. An engine in a machine of its own,
    or in another namespace, counts otherwise; the kernel's word on the process's control group tells.
    """
    leader = read_process(first, proc)
    if leader is None or not _is_of(first, container, proc):
        return None
    held = holdings_of(_tree(first, proc), proc)
    shm = _shm_bytes(proc / str(first) / "root" / "dev" / "shm")
    if held.processes == 0 or shm is None:
        return None
    return ResourceRecord(
        t_ns=time.time_ns(),
        mono_ns=time.monotonic_ns(),
        leader=first,
        started=leader.start_ticks,
        processes=held.processes,
        threads=held.threads,
        files=held.files,
        sockets=held.sockets,
        resident_bytes=held.resident_bytes,
        anonymous_bytes=held.anonymous_bytes,
        shm_bytes=shm,
    )


def _is_of(first: int, container: str, proc: Path) -> bool:
    return container in _read(proc / str(first) / "cgroup")


def _tree(first: int, proc: Path) -> Iterator[int]:
    """The process and all that descend from it. A health check beside them descends from the engine."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in proc.iterdir():
        if entry.name.isdecimal() and (stat := _read(entry / "stat")):
            children[int(stat[stat.rindex(")") + 2 :].split()[1])].append(int(entry.name))
    found = [first]
    for pid in found:
        found += children[pid]
    return iter(found)


def _shm_bytes(shm: Path) -> int | None:
    """The container has a /dev/shm of its own; all of it is the server's."""
    try:
        return sum(entry.lstat().st_blocks * STAT_BLOCK_BYTES for entry in shm.iterdir())
    except GONE:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except GONE:
        return ""
