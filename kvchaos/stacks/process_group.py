"""A group of processes named by its leader: who belongs to it, whether it is still ours, and how it is ended.

Every server is started as the leader of a process group of its own. The kernel does not reuse a process id
while a group of that number lives. So two facts prove whose processes they are: a leader's id with its start
time, or members older than our last check.

The group has no session of its own, because the scheduler may divide the processors by session. Then a load
generator next to a busy server waits for seconds before it can record a token.

A killed process removes nothing. A group that is to be killed is stopped first (SIGSTOP), so that nothing
new appears while its files are looked at; only then is it killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from kvchaos.polling import poll

PROC = Path("/proc")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What reading of a process raises when it ends meanwhile, is ending, or is of another user."""
What = Literal["server", "network", "prometheus", "compose", "load"]


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recorded process group. Times are clock ticks since boot, as in /proc/PID/stat."""

    leader: int
    """Process id; also the id of the process group."""
    start_ticks: int
    """When the leader started."""
    seen_ticks: int
    """When we last observed the group alive."""
    what: What


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat, as far as it is needed here."""

    pid: int
    name: str
    """Name of its main thread, at most 15 bytes."""
    state: str
    group: int
    start_ticks: int
    parent: int = 0

    @property
    def runs(self) -> bool:
        """False for a zombie: it holds its id and nothing else."""
        return self.state not in "ZXx"


class Ownership(StrEnum):
    """Whether a process group is still the one that was started."""

    OURS = "ours"
    ENDED = "ended"
    REUSED = "reused"
    """The leader's id belongs to another process now, so our group has ended."""
    UNPROVEN = "unproven"
    """The leader is gone and every member is younger than our last observation."""


@dataclass(frozen=True, slots=True)
class GroupState:
    """The state of a process group at one moment."""

    ownership: Ownership
    processes: tuple[Process, ...]
    """The running members; empty unless ours or unproven."""


def read_process(pid: int, proc: Path = PROC) -> Process | None:
    """None when there is no such process."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in brackets, which may itself hold spaces and brackets.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    parent, group = int(fields[1]), int(fields[2])
    return Process(pid, name, state=fields[0], group=group, start_ticks=int(fields[19]), parent=parent)


def every_process(proc: Path = PROC) -> list[Process]:
    """All processes of this machine, zombies among them."""
    entries = (read_process(int(entry.name), proc) for entry in proc.iterdir() if entry.name.isdecimal())
    return [process for process in entries if process]


def running(proc: Path = PROC) -> list[Process]:
    """All processes of this machine but zombies."""
    return [process for process in every_process(proc) if process.runs]


def zombies_of(parents: Iterable[Process], among: Iterable[Process]) -> int:
    """Number of ended children that these processes have not collected.

    Children of other parents do not count.
    """
    pids = {process.pid for process in parents}
    return sum(process.parent in pids and not process.runs for process in among)


def now_ticks() -> int:
    """The present in the unit of Process.start_ticks."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def group_of(pid: int, what: What) -> Group:
    """Describe a child that was just started as a group's leader. Raises ValueError when it is none."""
    leader = read_process(pid)
    if leader is None or leader.group != pid:
        raise ValueError(f"process {pid} leads no process group")
    return Group(leader=pid, start_ticks=leader.start_ticks, seen_ticks=leader.start_ticks, what=what)


def group_state(group: Group, proc: Path = PROC, among: Sequence[Process] | None = None) -> GroupState:
    """Find the group's running processes and whether they are ours. `among`: all that run, if known."""
    leader = read_process(group.leader, proc)
    if leader is not None and leader.start_ticks != group.start_ticks:
        return GroupState(Ownership.REUSED, ())
    everyone = running(proc) if among is None else among
    members = tuple(process for process in everyone if process.group == group.leader)
    if not members:
        return GroupState(Ownership.ENDED, ())
    if leader is not None or any(process.start_ticks <= group.seen_ticks for process in members):
        return GroupState(Ownership.OURS, members)
    return GroupState(Ownership.UNPROVEN, members)


def refresh(group: Group) -> tuple[Group, GroupState]:
    """Observe the group, and update the time of the observation when it lives and is ours."""
    (refreshed,) = refresh_all([group])
    return refreshed


def refresh_all(groups: Iterable[Group]) -> list[tuple[Group, GroupState]]:
    """The same for several groups, with one pass over the processes of the machine."""
    # A list that is older than the read of a leader can be wrong only by what has ended since.
    now, everyone = now_ticks(), running()
    results = []
    for group in groups:
        state = group_state(group, among=everyone)
        ours = state.ownership is Ownership.OURS
        refreshed = msgspec.structs.replace(group, seen_ticks=now) if ours else group
        results.append((refreshed, state))
    return results


def descendants(members: Sequence[Process], among: Sequence[Process]) -> tuple[Process, ...]:
    """Children of the members, and theirs, that have left the group."""
    known = {process.pid for process in members}
    found: list[Process] = []
    while more := [process for process in among if process.parent in known and process.pid not in known]:
        known |= {process.pid for process in more}
        found += more
    return tuple(found)


def send(by: Callable[[int, int], None], number: int, which: signal.Signals) -> None:
    """Send a signal by os.kill or os.killpg; does nothing when no process is there."""
    try:
        by(number, which)
    except ProcessLookupError:
        return


POLL_S = 0.05
ORPHANS_GRACE_S = 1.0
"""Children see their leader's end by themselves and leave in this time, or not at all."""
KILL_DEADLINE_S = 15.0
"""A killed process that has not gone by then hangs in the kernel."""
FREEZE_S = 5.0
"""A thread that has not stopped by then waits in the kernel, and makes no file there."""
FREEZE_POLL_S = 0.005

AddUsage = Callable[[Iterable[int]], None]
"""Takes process ids, and registers what those processes use."""


def end_group(group: Group, grace_s: float, add_usage: AddUsage | None = None) -> GroupState:
    """SIGTERM to the leader, then SIGKILL to all that is left after `grace_s`; return what remains.

    A group whose leader is dead already is killed at once. What is not proven ours is not touched. With
    `add_usage`, what the processes use is registered before each signal, and repeatedly while they end.
    Raises PermissionError when the processes belong to another user.
    """
    group, state = refresh(group)
    strays: tuple[Process, ...] = ()
    if _leader_runs(group, state):
        if add_usage is not None:
            strays = freeze(group, add_usage)
        send(os.kill, group.leader, signal.SIGTERM)
        # One that stands still receives it only when it goes on.
        send(os.killpg, group.leader, signal.SIGCONT)
        _signal_each(strays, signal.SIGCONT)
        _wait(group, grace_s, lambda group, state: not _leader_runs(group, state), add_usage)
        group, _ = _wait(group, min(grace_s, ORPHANS_GRACE_S), _has_ended, add_usage)
    return kill_group(group, add_usage, strays)


def kill_group(group: Group, add_usage: AddUsage | None = None, strays: Sequence[Process] = ()) -> GroupState:
    """SIGKILL to all of the group at once; return what remains. The rest as for end_group.

    `strays` are descendants that have left the group; they are killed, too.
    """
    group, state = refresh(group)
    deadline = time.monotonic() + KILL_DEADLINE_S
    while state.ownership is Ownership.OURS and time.monotonic() < deadline:
        if add_usage is not None:
            strays = tuple({stray.pid: stray for stray in (*strays, *freeze(group, add_usage))}.values())
        send(os.killpg, group.leader, signal.SIGKILL)
        _signal_each(strays, signal.SIGKILL)
        group, state = _wait(group, 10 * POLL_S, _has_ended)
    _signal_each(strays, signal.SIGKILL)
    left_s = deadline - time.monotonic()
    remaining = poll(lambda: _still_there(strays), lambda found: not found, left_s, POLL_S)
    if remaining and state.ownership is not Ownership.UNPROVEN:
        return GroupState(Ownership.OURS, (*state.processes, *remaining))
    return state


def freeze(group: Group, add_usage: AddUsage, proc: Path = PROC) -> tuple[Process, ...]:
    """Stop all processes of a group that is ours, and register what they use; they stay stopped.

    Returns the descendants that have left the group; they are stopped, too.
    """
    deadline = time.monotonic() + FREEZE_S
    while True:
        everyone = running(proc)
        state = group_state(group, proc, everyone)
        if state.ownership is not Ownership.OURS:
            return ()
        strays = descendants(state.processes, everyone)
        family = (*state.processes, *strays)
        if all(_stands_still(process.pid, proc) for process in family) or time.monotonic() >= deadline:
            add_usage([group.leader, *(process.pid for process in family)])
            return strays
        send(os.killpg, group.leader, signal.SIGSTOP)
        _signal_each(strays, signal.SIGSTOP)
        time.sleep(FREEZE_POLL_S)


def _stands_still(pid: int, proc: Path) -> bool:
    """Every thread is stopped, or the process has ended."""
    try:
        threads = [int(entry.name) for entry in (proc / str(pid) / "task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return True
    states = (read_process(thread, proc / str(pid) / "task") for thread in threads)
    return all(state is None or state.state in "TtZXx" for state in states)


def _signal_each(processes: Iterable[Process], which: signal.Signals) -> None:
    for process in _still_there(processes):
        send(os.kill, process.pid, which)


def _still_there(processes: Iterable[Process]) -> list[Process]:
    """Processes that run and have not been replaced by another process of the same id."""
    running_now = []
    for process in processes:
        now = read_process(process.pid)
        if now is not None and now.runs and now.start_ticks == process.start_ticks:
            running_now.append(now)
    return running_now


def _leader_runs(group: Group, state: GroupState) -> bool:
    ours = state.ownership is Ownership.OURS
    return ours and any(process.pid == group.leader for process in state.processes)


def _has_ended(group: Group, state: GroupState) -> bool:
    return state.ownership is not Ownership.OURS


def _wait(
    group: Group,
    seconds: float,
    condition: Callable[[Group, GroupState], bool],
    add_usage: AddUsage | None = None,
) -> tuple[Group, GroupState]:
    """Poll until the condition holds or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        group, state = refresh(group)
        if add_usage is not None and state.ownership is Ownership.OURS:
            add_usage([process.pid for process in state.processes])
        if condition(group, state) or time.monotonic() >= deadline:
            return group, state
        time.sleep(POLL_S)
