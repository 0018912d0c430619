"""What a run occupies on the machine, looked at from outside, and what of it is left when it has ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kvchaos.stacks import shared_memory
from kvchaos.stacks.process_group import PROC
from kvchaos.stacks.shared_memory import SHM, ShmFile
from tests.server.bench import Command, RunDir, wait_for
from tests.support.fake_server_runs import groups_of, members


@dataclass(frozen=True)
class Footprint:
    """Processes and files of a run that is under way."""

    server: int
    """The server's main process, which leads its group."""
    workers: frozenset[int]
    """Process groups of the load workers."""
    temp_folders: tuple[Path, ...]
    record: Path
    shm: frozenset[Path]
    """Files under /dev/shm that the server uses."""

    def server_processes(self) -> set[int]:
        return members({self.server})

    def processes(self) -> set[int]:
        """All that runs now."""
        return members({self.server, *self.workers})

    def left(self) -> list[str]:
        """Everything of it that is still there."""
        folders = [folder for folder in self.temp_folders if folder.exists()]
        files = [path for path in (self.record, *self.shm) if path.exists()]
        return [*map(str, (*folders, *files)), *(f"process {pid}" for pid in sorted(self.processes()))]


def footprint(command: Command, run: RunDir) -> Footprint:
    """Take down what a run has. Waits until its record tells of the server's shared memory."""
    bench = command.bench
    wait_for(lambda: bool(bench.record(run).shm))
    record = bench.record(run)
    (server,) = (group.leader for group in record.groups if group.what == "server")
    workers = frozenset(groups_of(command.process.pid) - {server})
    assert workers, "no load worker runs"
    used = shared_memory.files_of(members({server}))
    return Footprint(
        server=server,
        workers=workers,
        temp_folders=tuple(map(Path, record.temp_folders)),
        record=bench.record_path(run),
        shm=frozenset(Path(file.path) for file in used | set(record.shm)),
    )


def assert_nothing_abandoned(before: set[ShmFile]) -> None:
    """No file under /dev/shm that is newer than `before` stays without a process that uses it: a leak.

    The server of another test may have ended a moment ago, before its run removed its files.
    """
    wait_for(lambda: not shm_files() - before - in_use())


def in_use() -> set[ShmFile]:
    """Files under /dev/shm of all processes that may be looked into."""
    used: set[ShmFile] = set()
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(PermissionError):
                used |= shared_memory.files_of([int(entry.name)])
    return used


def shm_files() -> set[ShmFile]:
    """The files in /dev/shm with their inodes."""
    return {ShmFile(path=str(path), inode=path.lstat().st_ino) for path in SHM.iterdir()}
