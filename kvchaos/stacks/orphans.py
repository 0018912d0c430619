"""Finds and ends what a killed conductor left: what its registry names, after proving that it is the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chaos.inside.control import SCHEDULE
from kvchaos.errors import UsageError
from kvchaos.stacks import shared_memory
from kvchaos.stacks.compose.docker_engine import DOCKER_ERRORS, connect, remove_project
from kvchaos.stacks.process_group import (
    PROC,
    Group,
    GroupState,
    Ownership,
    end_group,
    group_state,
    kill_group,
    read_process,
)
from kvchaos.stacks.process_registry import (
    DRAFT_SUFFIX,
    MachineId,
    RunState,
    new_shm,
    this_machine,
    with_shm,
    write_state,
)

_states = msgspec.json.Decoder(RunState)

GRACE_S = 10.0
DRAFT_S = 60.0
"""A live conductor turns its draft into a registry at once."""


@dataclass(frozen=True, slots=True)
class OrphanedRun:
    """A process registry whose conductor is dead."""

    path: Path
    state: RunState
    rebooted: bool
    """The machine was rebooted since: no process and no shared memory of it is left."""


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What a cleanup ended, and what it could not end."""

    ended: tuple[str, ...]
    """What was ended and removed, one line each."""
    remaining: tuple[str, ...]
    """What could not be ended, one line each. The registry stays while there is any."""


def find_orphans(state_folder: Path, proc: Path = PROC) -> list[OrphanedRun]:
    """Registries of dead conductors of this machine; those of other machines and containers are ignored.

    Raises UsageError for a registry that cannot be read.
    """
    here = this_machine()
    orphans = []
    for path in sorted(state_folder.glob("*.json")):
        state = _read(path)
        if state is not None and _is_dead(state, here, proc):
            orphans.append(OrphanedRun(path, state, rebooted=state.place.boot != here.boot))
    return orphans


def remove_drafts(state_folder: Path) -> list[str]:
    """Remove drafts that a killed conductor did not finish, and return their paths."""
    removed = []
    for draft in state_folder.glob(f"*{DRAFT_SUFFIX}"):
        with suppress(FileNotFoundError):
            age_s = time.time() - draft.stat().st_mtime
            if age_s > DRAFT_S and not draft.with_suffix(".json").exists():
                draft.unlink()
                removed.append(str(draft))
    return removed


def end_and_remove(orphan: OrphanedRun, grace_s: float = GRACE_S) -> CleanupResult:
    """End and remove everything that a registry names, then the registry itself. Safe to repeat.

    A server is stopped, inspected and killed: a graceful end serves no conductor any more, and until it ends
    it may make further files. `grace_s` is what other processes get after SIGTERM.
    """
    state = orphan.state
    ended: list[str] = []
    remaining: list[str] = []
    # First the faults: what still runs should behave while it ends.
    schedule = Path(state.control_dir) / SCHEDULE
    if schedule.exists():
        schedule.unlink(missing_ok=True)
        ended.append(f"disarmed faults in {schedule.parent}")
    if not orphan.rebooted:
        shm_tracker = _ShmTracker(orphan)
        for group in state.groups:
            _end(group, grace_s, shm_tracker, ended, remaining)
        if not remaining:
            ended += [f"removed {path}" for path in shared_memory.remove(shm_tracker.state.shm)]
    if state.projects:
        _remove_projects(state.projects, ended, remaining)
    if not remaining:
        ended += _remove_temp_folders(state)
        orphan.path.unlink(missing_ok=True)
        orphan.path.with_suffix(DRAFT_SUFFIX).unlink(missing_ok=True)
    return CleanupResult(tuple(ended), tuple(remaining))


def _read(path: Path) -> RunState | None:
    """None when the registry has just gone."""
    try:
        return _states.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{path}: cannot be read ({error}); check that no process of this run is left, then delete it"
        ) from error


def _is_dead(state: RunState, here: MachineId, proc: Path) -> bool:
    if state.place.host != here.host:
        return False
    if state.place.boot != here.boot:
        return True
    if state.place.pid_namespace != here.pid_namespace:
        return False
    conductor = read_process(state.conductor.pid, proc)
    return conductor is None or not conductor.runs or conductor.start_ticks != state.conductor.start_ticks


class _ShmTracker:
    """Adds the shared memory of a dead conductor's servers to its registry.

    It does so before anything is ended, so that the next cleanup finishes one that was killed.
    """

    def __init__(self, orphan: OrphanedRun) -> None:
        self._path = orphan.path
        states = [(group, group_state(group)) for group in orphan.state.groups]
        shm = new_shm(orphan.state, states) | set(orphan.state.shm)
        self.state = msgspec.structs.replace(orphan.state, shm=tuple(sorted(shm)))

    def add(self, pids: Iterable[int]) -> None:
        shm_tracker = with_shm(self.state, pids)
        if shm_tracker != self.state:
            self.state = shm_tracker
            with suppress(OSError):  # A full disk, for instance: the files are removed all the same.
                write_state(self._path, shm_tracker)


def _end_group(group: Group, grace_s: float, shm_tracker: _ShmTracker) -> GroupState:
    if group.what == "server":
        return kill_group(group, shm_tracker.add)
    return end_group(group, grace_s)


def _end(
    group: Group, grace_s: float, shm_tracker: _ShmTracker, ended: list[str], remaining: list[str]
) -> None:
    before = group_state(group)
    name = f"{group.what} {group.leader}"
    if before.ownership in (Ownership.ENDED, Ownership.REUSED):
        return
    if before.ownership is Ownership.UNPROVEN:
        pids = ", ".join(str(process.pid) for process in before.processes)
        remaining.append(
            f"{name} does not exist any more; processes {pids} may be its children: if so, end them by hand"
        )
        return
    try:
        after = _end_group(group, grace_s, shm_tracker)
    except PermissionError:
        remaining.append(f"{name} belongs to another user: end it by hand")
        return
    if after.processes:
        remaining.append(
            f"{name}: {len(after.processes)} processes do not end: try again, or restart the machine"
        )
        return
    count = len(before.processes)
    ended.append(f"ended {name} ({count} process{'es' if count != 1 else ''})")


def _remove_projects(projects: tuple[str, ...], ended: list[str], remaining: list[str]) -> None:
    """Containers may exist even after a reboot of the machine."""
    try:
        client = connect()
    except UsageError as error:
        remaining.append(f"containers of project {', '.join(projects)} may be left: {error}")
        return
    try:
        for project in projects:
            ended += remove_project(client, project)
    except DOCKER_ERRORS as error:
        remaining.append(f"containers of project {', '.join(projects)}: {error}: try again")
    finally:
        client.close()


def _remove_temp_folders(state: RunState) -> list[str]:
    removed = []
    for name in state.temp_folders:
        folder = Path(name)
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
            removed.append(f"removed {folder}")
    return removed
