"""A group of processes named by its leader: who belongs to it, whether it is still ours, and its end.

Every server is started as the leader of a process group of its own. The kernel does not give a process
id away again while a group of that number lives; so a leader's id with its start time, or members older
than our last look, prove whose processes they are.

It is no session of its own: the scheduler may share the processors out by session, and then a load
generator beside a busy server waits for seconds until it may note that a token has come.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

PROC = Path("/proc")
POLL_S = 0.05
ORPHANS_GRACE_S = 1.0
"""Children see their leader's end by themselves and leave in this time, or not at all."""
KILL_DEADLINE_S = 15.0
"""A killed process that has not gone by then hangs in the kernel."""

What = Literal["server", "network", "prometheus", "compose"]


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recorded process group. Times are clock ticks since boot, as in /proc/PID/stat."""

    leader: int
    """Process id; also the id of the process group."""
    start_ticks: int
    """When the leader started."""
    seen_ticks: int
    """When we last saw the group alive."""
    what: What


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat, as far as it is needed here."""

    pid: int
    name: str
    """Of its main thread, at most 15 bytes."""
    state: str
    group: int
    start_ticks: int

    @property
    def runs(self) -> bool:
        """False for a zombie: it holds its id and nothing else."""
        return self.state not in "ZXx"


class Ownership(StrEnum):
    OURS = "ours"
    ENDED = "ended"
    REUSED = "reused"
    """The leader's id belongs to another process now, so our group has ended."""
    UNPROVEN = "unproven"
    """The leader is gone and every member is younger than our last look."""


@dataclass(frozen=True, slots=True)
class GroupState:
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
    return Process(pid, name, state=fields[0], group=int(fields[2]), start_ticks=int(fields[19]))


def now_ticks() -> int:
    """The present in the unit of Process.start_ticks."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def group_of(pid: int, what: What) -> Group:
    """Describe a child that was just started as a group's leader. Raises ValueError when it is none."""
    leader = read_process(pid)
    if leader is None or leader.group != pid:
        raise ValueError(f"process {pid} leads no process group")
    return Group(leader=pid, start_ticks=leader.start_ticks, seen_ticks=leader.start_ticks, what=what)


def look_at(group: Group, proc: Path = PROC) -> GroupState:
    """Find the group's running processes and whether they are ours."""
    leader = read_process(group.leader, proc)
    if leader is not None and leader.start_ticks != group.start_ticks:
        return GroupState(Ownership.REUSED, ())
    running = tuple(_running_in_group(group.leader, proc))
    if not running:
        return GroupState(Ownership.ENDED, ())
    if leader is not None or any(process.start_ticks <= group.seen_ticks for process in running):
        return GroupState(Ownership.OURS, running)
    return GroupState(Ownership.UNPROVEN, running)


def see(group: Group) -> tuple[Group, GroupState]:
    """Look at the group, and note the time of the look when it lives and is ours."""
    now = now_ticks()
    state = look_at(group)
    if state.ownership is Ownership.OURS:
        group = msgspec.structs.replace(group, seen_ticks=now)
    return group, state


def end_group(group: Group, grace_s: float) -> GroupState:
    """SIGTERM to the leader, then SIGKILL to all that is left after `grace_s`; return what remains.

    A group whose leader is dead already is killed at once. What is not proven ours is not touched.
    Raises PermissionError when the processes belong to another user.
    """
    group, state = see(group)
    if _leader_runs(group, state):
        send(os.kill, group.leader, signal.SIGTERM)
        # One that stands still hears of it only when it goes on.
        send(os.killpg, group.leader, signal.SIGCONT)
        group, state = _wait(group, grace_s, lambda group, state: not _leader_runs(group, state))
        group, state = _wait(group, min(grace_s, ORPHANS_GRACE_S), _has_ended)
    deadline = time.monotonic() + KILL_DEADLINE_S
    while state.ownership is Ownership.OURS and time.monotonic() < deadline:
        send(os.killpg, group.leader, signal.SIGKILL)
        group, state = _wait(group, 10 * POLL_S, _has_ended)
    return state


def _running_in_group(group: int, proc: Path) -> list[Process]:
    entries = (read_process(int(entry.name), proc) for entry in proc.iterdir() if entry.name.isdecimal())
    return [process for process in entries if process and process.group == group and process.runs]


def _leader_runs(group: Group, state: GroupState) -> bool:
    ours = state.ownership is Ownership.OURS
    return ours and any(process.pid == group.leader for process in state.processes)


def _has_ended(group: Group, state: GroupState) -> bool:
    return state.ownership is not Ownership.OURS


def _wait(
    group: Group, seconds: float, condition: Callable[[Group, GroupState], bool]
) -> tuple[Group, GroupState]:
    """Look again and again until the condition holds or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        group, state = see(group)
        if condition(group, state) or time.monotonic() >= deadline:
            return group, state
        time.sleep(POLL_S)


def send(by: Callable[[int, int], None], number: int, which: signal.Signals) -> None:
    """Send a signal by os.kill or os.killpg; nothing happens when nobody is there."""
    try:
        by(number, which)
    except ProcessLookupError:
        return
