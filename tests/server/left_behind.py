"""Everything of one run that is on the machine now, found without asking the suite itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from kvchaos.stacks import shared_memory
from kvchaos.stacks.process_group import GONE, PROC, Process, running
from kvchaos.stacks.shared_memory import SHM, ShmFile
from tests.server.footprint import shm_files

TMP = Path("/tmp")
SHM_KINDS = {"psm_": "psm_*", "sem.": "sem.*", "__KMP_": "__KMP_*"}
"""What a server makes in /dev/shm, by the begin of its name."""


@dataclass(frozen=True)
class Left:
    """What is there of a run."""

    processes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    shm: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    records: tuple[Path, ...] = ()

    def kinds(self) -> tuple[str, ...]:
        """Which kinds of things, for a table."""
        named = {
            "record": self.records,
            "folder": self.folders,
            "processes": self.processes,
            "port": self.ports,
        }
        return (*(name for name, found in named.items() if found), *sorted(self._shm()))

    def summary(self) -> str:
        """How many of each kind."""
        counts = {"processes": len(self.processes), "ports": len(self.ports), **self._shm()}
        counts |= {"folders": len(self.folders), "records": len(self.records)}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"

    def names(self) -> str:
        """Each by its name; empty when there is nothing."""
        ports = (f"port {port}" for port in self.ports)
        return ", ".join((*self.processes, *ports, *map(str, (*self.shm, *self.folders, *self.records))))

    def _shm(self) -> Counter[str]:
        return Counter(_shm_kind(path.name) for path in self.shm)


def _shm_kind(name: str) -> str:
    """What a file in /dev/shm belongs to, by its name."""
    return next((kind for begin, kind in SHM_KINDS.items() if name.startswith(begin)), "other /dev/shm")


class Site:
    """The machine during one run, whose processes all have `mark` in their environment.

    `temp` is the run's TMPDIR, `state` the folder of its record. On a machine that others use as well,
    files in /dev/shm that their processes use are not counted.
    """

    def __init__(self, mark: str, temp: Path, state: Path) -> None:
        self._mark = mark.encode() + b"\0"
        self._temp = temp
        self._state = state
        self._begin_s = time.time()
        self._older = shm_files()
        self._known: set[tuple[int, int]] = set()
        self._ports: set[int] = set()
        self._paths: set[Path] = set()

    def left(self) -> Left:
        """What is there now. Call it while the run lives, too: what it had then is looked for later."""
        ours = self._processes()
        pids = [process.pid for process in ours]
        self._ports.update(port for pid in pids for port in _listening(pid))
        self._paths.update(path for pid in pids for path in self._new_in_tmp(pid))
        folders = {*self._temp.iterdir(), *(path for path in self._paths if path.exists())}
        return Left(
            processes=tuple(f"process {process.pid} ({process.name})" for process in ours),
            ports=tuple(sorted(self._ports & _listened_to(pids))),
            shm=tuple(sorted(Path(file.path) for file in self._new_shm(pids))),
            folders=tuple(sorted(folders)),
            records=tuple(sorted(self._state.iterdir())) if self._state.exists() else (),
        )

    def has_new_shm(self, pattern: str) -> bool:
        """Whether there is a file of that name that was not there before; whose it is, nobody asks."""
        older = {file.path for file in self._older}
        return any(str(path) not in older for path in SHM.glob(pattern))

    def _new_shm(self, ours: Iterable[int]) -> set[ShmFile]:
        others = {process.pid for process in running()} - set(ours)
        return shm_files() - self._older - shared_memory.files_of(others)

    def _processes(self) -> list[Process]:
        """Marked ones, and since a process can write over its environment: what was known, and kin of it."""
        everyone = running()
        groups = {pid for pid, _ in self._known}
        known = {process.pid for process in everyone if (process.pid, process.start_ticks) in self._known}
        known |= {process.pid for process in everyone if self._is_marked(process.pid)}
        while more := {
            process.pid
            for process in everyone
            if process.pid not in known and (process.parent in known or process.group in known | groups)
        }:
            known |= more
        found = [process for process in everyone if process.pid in known]
        self._known |= {(process.pid, process.start_ticks) for process in found}
        return found

    def _new_in_tmp(self, pid: int) -> list[Path]:
        """Files under /tmp that a process has open, but for older ones and those of the run's own folder."""
        found = []
        for link in _links(pid):
            with suppress(*GONE):
                path = link.readlink()
                if not path.is_relative_to(TMP) or path.is_relative_to(self._temp.parent):
                    continue
                if path.stat().st_ctime > self._begin_s:
                    found.append(path)
        return found

    def _is_marked(self, pid: int) -> bool:
        try:
            return self._mark in (PROC / str(pid) / "environ").read_bytes()
        except GONE:
            return False


def _listening(pid: int) -> list[int]:
    """The TCP ports on which a process listens."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    return [each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN]


def _links(pid: int) -> list[Path]:
    """The open file descriptors of a process as paths, empty for an exited one."""
    try:
        return list((PROC / str(pid) / "fd").iterdir())
    except GONE:
        return []


def _listened_to(ours: Iterable[int]) -> set[int]:
    """Ports with a listener that is ours, or that nobody can be named for.

    A port that was ours may be another process's a moment later: the kernel gives free ports to anyone.
    """
    owners = {None, *ours}
    return {
        each.laddr.port
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr and each.pid in owners
    }
