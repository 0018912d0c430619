"""The resources of running processes, from /proc: threads, open files, memory, processor time.

Of a container, too: its processes as this machine sees them.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from history.records import ResourceRecord
from kvchaos.stacks.process_group import GONE, PROC, Process, read_process, zombies_of
from kvchaos.stacks.shared_memory import STAT_BLOCK_BYTES

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SOCKET = "socket:"


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Sums over processes; see `history.records.ResourceRecord`."""

    processes: int = 0
    threads: int = 0
    files: int = 0
    sockets: int = 0
    resident_bytes: int = 0
    anonymous_bytes: int = 0

    def __add__(self, other: ProcessUsage) -> ProcessUsage:
        return ProcessUsage(
            processes=self.processes + other.processes,
            threads=self.threads + other.threads,
            files=self.files + other.files,
            sockets=self.sockets + other.sockets,
            resident_bytes=self.resident_bytes + other.resident_bytes,
            anonymous_bytes=self.anonymous_bytes + other.anonymous_bytes,
        )


def usage_of(pids: Iterable[int], proc: Path = PROC) -> ProcessUsage:
    """The usage of these processes together. One that has ended uses nothing."""
    return sum((_of_process(proc / str(pid)) for pid in pids), ProcessUsage())


def cpu_s(pid: int, proc: Path = PROC) -> float:
    """Processor time that a process has used so far, seconds; 0 when it has ended."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except GONE:
        return 0.0
    # The name, the only part with brackets and spaces of its own, comes before what is read.
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Memory of a process that is present; 0 when it has ended."""
    try:
        return _pages(proc / str(pid) / "statm")[0] * PAGE_BYTES
    except GONE:
        return 0


def _of_process(folder: Path) -> ProcessUsage:
    try:
        sockets, files = _descriptors(folder / "fd")
        resident, shared = _pages(folder / "statm")
        threads = len(os.listdir(folder / "task"))  # noqa: PTH208 (names alone: this is done every second)
    except GONE:
        return ProcessUsage()
    return ProcessUsage(
        processes=1,
        threads=threads,
        files=files,
        sockets=sockets,
        resident_bytes=resident * PAGE_BYTES,
        anonymous_bytes=(resident - shared) * PAGE_BYTES,
    )


def _descriptors(folder: Path) -> tuple[int, int]:
    """How many sockets, and how many others."""
    sockets = others = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_socket = os.readlink(entry.path).startswith(SOCKET)  # noqa: PTH115 (no path is wanted)
            except FileNotFoundError:
                continue
            sockets += is_socket
            others += not is_socket
    return sockets, others


def _pages(statm: Path) -> tuple[int, int]:
    """Present pages, and those of them that a file is behind."""
    fields = statm.read_text(encoding="ascii").split()
    return int(fields[1]), int(fields[2])


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
