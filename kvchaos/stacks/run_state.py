"""The content of a process registry: all that a conductor would leave behind if it were killed now."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from kvchaos.stacks import shared_memory
from kvchaos.stacks.process_group import Group, GroupState, Ownership
from kvchaos.stacks.shared_memory import ShmFile

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
DRAFT_SUFFIX = ".draft"


class MachineId(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where process ids have a meaning: a cache folder may be shared by machines and containers."""

    host: str
    boot: str
    pid_namespace: str


class ConductorProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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
    """With one atomic rename. Raises OSError."""
    draft = path.with_suffix(DRAFT_SUFFIX)
    draft.write_bytes(msgspec.json.encode(state) + b"\n")
    draft.replace(path)
