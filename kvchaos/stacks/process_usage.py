"""The resources of running processes, from /proc: threads, open files, memory, processor time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvchaos.stacks.process_group import PROC

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SOCKET = "socket:"
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What reading of a process raises when it ends meanwhile, is ending, or is of another user."""


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
