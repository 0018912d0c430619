"""The registry of what a run has started: one JSON file a run, kept for as long as anything of it runs.

It is written before a process does anything, and with one atomic rename, so that after a SIGKILL of
the conductor the next command knows exactly what is left.
"""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal

import msgspec

from kvchaos.errors import UsageError
from kvchaos.stacks import shared_memory
from kvchaos.stacks.process_group import (
    Group,
    GroupState,
    Ownership,
    What,
    group_of,
    read_process,
    refresh_all,
)
from kvchaos.stacks.shared_memory import ShmFile

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
DRAFT_SUFFIX = ".draft"


class MachineId(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Identity of the machine or container in which process ids are valid; a cache folder may be shared."""

    host: str
    boot: str
    pid_namespace: str


class ConductorProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The conductor, by process id and start time."""

    pid: int
    start_ticks: int


class RunState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that would be left behind if the conductor were killed now."""

    v: Literal[1] = 1
    run_id: str
    run_dir: str
    control_dir: str
    place: MachineId
    conductor: ConductorProcess
    groups: tuple[Group, ...] = ()
    temp_folders: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    """Compose projects, by name."""
    shm: tuple[ShmFile, ...] = ()
    """Files under /dev/shm that the registered servers use."""
    older_shm: tuple[int, ...] = ()
    """Inodes that were there before: never ours."""


def this_machine() -> MachineId:
    """Host name, boot and namespace of process ids: where registered ids are valid."""
    return MachineId(
        host=platform.node(),
        boot=BOOT_ID.read_text(encoding="ascii").strip(),
        pid_namespace=str(PID_NAMESPACE.readlink()),
    )


def new_shm(state: RunState, states: Iterable[tuple[Group, GroupState]]) -> set[ShmFile]:
    """Files that the servers among these groups use now and that are younger than the run."""
    pids: set[int] = set()
    for group, group_state in states:
        if group.what == "server" and group_state.ownership in (Ownership.OURS, Ownership.ENDED):
            # The leader may be dead already, and libiomp's file of it is still there.
            pids |= {group.leader, *(process.pid for process in group_state.processes)}
    return younger_shm(state, pids)


def younger_shm(state: RunState, pids: Iterable[int]) -> set[ShmFile]:
    """Files that these processes use now and that are younger than the run."""
    older = set(state.older_shm)
    return {file for file in shared_memory.files_of(pids) if file.inode not in older}


def with_shm(state: RunState, pids: Iterable[int]) -> RunState:
    """The state with the files added that these processes of a server use now."""
    shm = younger_shm(state, pids) | set(state.shm)
    return msgspec.structs.replace(state, shm=tuple(sorted(shm)))


def write_state(path: Path, state: RunState) -> None:
    """Write the registry with one atomic rename. Raises OSError."""
    draft = path.with_suffix(DRAFT_SUFFIX)
    draft.write_bytes(msgspec.json.encode(state) + b"\n")
    draft.replace(path)


GATE = 'read -r go && exec "$@" </dev/null'
"""Run by a shell, which keeps its process id and start time when it becomes the command."""
STDIN_GATE = 'read -r go && exec "$@"'
"""The same for a command that goes on reading from our pipe. The shell takes no byte more than its line."""


class ProcessRegistry:
    """The conductor's own registry. Every change is on disk when the call returns, or OSError."""

    def __init__(self, folder: Path, *, run_id: str, run_dir: Path, control_dir: Path) -> None:
        me = read_process(os.getpid())
        if me is None:
            raise UsageError("/proc does not show this process: mount /proc")
        self.path = folder / f"{run_id}.json"
        self._lock = threading.RLock()
        self._state = RunState(
            run_id=run_id,
            run_dir=str(run_dir),
            control_dir=str(control_dir),
            place=this_machine(),
            conductor=ConductorProcess(pid=me.pid, start_ticks=me.start_ticks),
            older_shm=tuple(shared_memory.inodes()),
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            raise UsageError(f"{folder}: cannot write the record of the run: {error.strerror}") from error

    @property
    def state(self) -> RunState:
        """The registered processes, folders and projects."""
        return self._state

    def serve(self, run_id: str, run_dir: Path) -> None:
        """What is registered serves another run from now on."""
        with self._lock:
            self._change(run_id=run_id, run_dir=str(run_dir))

    def add_temp_folder(self, folder: Path) -> None:
        """Register a folder to be removed."""
        with self._lock:
            others = (name for name in self._state.temp_folders if name != str(folder))
            self._change(temp_folders=(*others, str(folder)))

    def drop_temp_folder(self, folder: Path) -> None:
        """Forget a folder that was removed."""
        with self._lock:
            self._change(temp_folders=tuple(name for name in self._state.temp_folders if name != str(folder)))

    def add_project(self, name: str) -> None:
        """Register a Compose project to be removed."""
        with self._lock:
            self._change(projects=tuple({*self._state.projects, name}))

    def drop_project(self, name: str) -> None:
        """Forget a Compose project that is removed, or to be left."""
        with self._lock:
            self._change(projects=tuple(known for known in self._state.projects if known != name))

    def start(
        self,
        command: tuple[str, ...],
        *,
        what: What,
        environment: Mapping[str, str],
        cwd: Path,
        log: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """Start a command as the leader of a process group of its own; it begins only when it is registered.

        Raises OSError when it could not be recorded; then nothing runs.
        """
        process = self._start(GATE, command, what, environment, cwd, stdout=log, stderr=subprocess.STDOUT)
        assert process.stdin is not None
        process.stdin.close()
        return process

    def start_with_stdin(
        self,
        command: tuple[str, ...],
        *,
        what: What,
        environment: Mapping[str, str],
        cwd: Path,
        log: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """The same, and its stdin stays open for our commands."""
        return self._start(STDIN_GATE, command, what, environment, cwd, stdout=log, stderr=subprocess.STDOUT)

    def start_load(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """A load process: commands go to its stdin, reports come from its stdout, both unbuffered."""
        return self._start(
            STDIN_GATE, command, "load", os.environ, cwd, stdout=subprocess.PIPE, stderr=log, bufsize=0
        )

    def _start(
        self,
        gate: str,
        command: Sequence[str],
        what: What,
        environment: Mapping[str, str],
        cwd: Path,
        *,
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
        bufsize: int = -1,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["/bin/sh", "-c", gate, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            bufsize=bufsize,
            env=dict(environment),
            cwd=cwd,
            process_group=0,
        )
        assert process.stdin is not None
        group = group_of(process.pid, what)
        try:
            with self._lock:
                self._change(groups=(*self._state.groups, group))
            process.stdin.write(b"go\n")
            process.stdin.flush()
        except OSError:
            # With the gate closed the shell ends without having become the command.
            process.stdin.close()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._state = msgspec.structs.replace(
                self._state, groups=tuple(known for known in self._state.groups if known != group)
            )
            raise
        return process

    def observe(self) -> None:
        """Refresh the groups and the shared memory that the servers use; once a second is enough."""
        with self._lock:
            states = refresh_all(self._state.groups)
            shm = new_shm(self._state, states) | set(self._state.shm)
            self._change(groups=tuple(group for group, _ in states), shm=tuple(sorted(shm)))

    def add_shm(self, pids: Iterable[int]) -> None:
        """Register the shared memory that these processes of a server use now.

        Where a server is being ended, an unwritable registry is no error: the files are still known here.
        """
        with self._lock:
            updated = with_shm(self._state, pids)
            if updated != self._state:
                self._state = updated
                with suppress(OSError):
                    self._write()

    def group(self, leader: int) -> Group:
        """The registered group. Raises KeyError when there is none of that leader."""
        for group in self._state.groups:
            if group.leader == leader:
                return group
        raise KeyError(leader)

    def drop_group(self, leader: int) -> None:
        """Forget a group that has ended; nothing happens when it is not in the registry."""
        with self._lock:
            if any(group.leader == leader for group in self._state.groups):
                others = (group for group in self._state.groups if group.leader != leader)
                self._change(groups=tuple(others))

    def drop_server(self, leader: int | None, temp_folder: Path) -> None:
        """Forget a server that has ended with all that it used."""
        with self._lock:
            self._change(
                groups=tuple(group for group in self._state.groups if group.leader != leader),
                temp_folders=tuple(name for name in self._state.temp_folders if name != str(temp_folder)),
                shm=(),
            )

    def close(self) -> None:
        """The run has ended: the file goes, unless groups or projects are still in it."""
        if not self._state.groups and not self._state.projects:
            self.path.unlink(missing_ok=True)

    def _change(self, **changes: object) -> None:
        self._state = msgspec.structs.replace(self._state, **changes)
        self._write()

    def _write(self) -> None:
        write_state(self.path, self._state)


class RegisteredStarter:
    """Starts load processes (a `child_process.ProcessStarter`), each registered before it begins."""

    def __init__(self, registry: ProcessRegistry) -> None:
        self._registry = registry

    def start(self, command: Sequence[str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process and register it."""
        return self._registry.start_load(command, cwd, log)

    def ended(self, pid: int) -> None:
        """Remove a process from the registry."""
        self._registry.drop_group(pid)
