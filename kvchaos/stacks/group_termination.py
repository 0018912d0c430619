"""Ends a process group, and registers what its processes use on the machine just before.

A killed process removes nothing. A group that is to be killed is stopped first (SIGSTOP), so that nothing
new appears while its files are looked at; only then is it killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kvchaos.stacks.process_group import (
    PROC,
    Group,
    GroupState,
    Ownership,
    Process,
    descendants,
    group_state,
    read_process,
    refresh,
    running,
    send,
)

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
    while (remaining := _still_there(strays)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
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
    """Those that run and have not been replaced by another process of the same id."""
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
