"""The processes of a container as this machine sees them, and their usage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from history.records import ResourceRecord
from kvchaos.stacks.process_group import PROC, Process, read_process, zombies_of
from kvchaos.stacks.process_usage import GONE, usage_of
from kvchaos.stacks.shared_memory import STAT_BLOCK_BYTES


def container_processes(leader_pid: int, container: str, proc: Path = PROC) -> list[Process]:
    """The container's running processes; empty when they cannot be observed from here. See below."""
    if not _is_of(leader_pid, container, proc):
        return []
    found = (read_process(pid, proc) for pid in _tree(leader_pid, proc))
    return [process for process in found if process is not None and process.runs]


def container_resources(leader_pid: int, container: str, proc: Path = PROC) -> ResourceRecord | None:
    """Usage of the container's processes now; None when they cannot be observed from here.

    `leader_pid` is the process id of its first process by the engine. An engine in a machine of its own,
    or in another namespace, counts otherwise; the control group of the process decides.
    """
    leader = read_process(leader_pid, proc)
    if leader is None or not _is_of(leader_pid, container, proc):
        return None
    tree = [process for pid in _tree(leader_pid, proc) if (process := read_process(pid, proc)) is not None]
    usage = usage_of((process.pid for process in tree if process.runs), proc)
    shm = _shm_bytes(proc / str(leader_pid) / "root" / "dev" / "shm")
    if usage.processes == 0 or shm is None:
        return None
    return ResourceRecord(
        t_ns=time.time_ns(),
        mono_ns=time.monotonic_ns(),
        leader=leader_pid,
        started=leader.start_ticks,
        processes=usage.processes,
        threads=usage.threads,
        files=usage.files,
        sockets=usage.sockets,
        resident_bytes=usage.resident_bytes,
        anonymous_bytes=usage.anonymous_bytes,
        shm_bytes=shm,
        zombies=zombies_of(tree, tree),
    )


def _is_of(leader_pid: int, container: str, proc: Path) -> bool:
    return container in _read(proc / str(leader_pid) / "cgroup")


def _tree(leader_pid: int, proc: Path) -> Iterator[int]:
    """The process and all that descend from it. A health check beside them descends from the engine."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in proc.iterdir():
        if entry.name.isdecimal() and (stat := _read(entry / "stat")):
            children[int(stat[stat.rindex(")") + 2 :].split()[1])].append(int(entry.name))
    found = [leader_pid]
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
