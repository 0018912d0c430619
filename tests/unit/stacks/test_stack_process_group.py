"""A stranger's process must never be ended, whatever process ids are given out again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvchaos.stacks.process_group import (
    Group,
    Ownership,
    Process,
    every_process,
    group_state,
    read_process,
    zombies_of,
)

GROUP = Group(leader=500, start_ticks=1000, seen_ticks=2000, what="server")


def put(
    proc: Path, pid: int, *, start: int, group: int = 500, state: str = "S", name: str = "python"
) -> None:
    """A line as the kernel writes it: pid, name, state, parent, group, session, ..., start time."""
    folder = proc / str(pid)
    folder.mkdir()
    middle = " ".join(["0"] * 15)
    (folder / "stat").write_text(f"{pid} ({name}) {state} 1 {group} 1 {middle} {start} 0 0\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "uptime").write_text("1 1\n")
    put(tmp_path, 1, start=1, group=1)
    return tmp_path


def pids(proc: Path) -> list[int]:
    return sorted(process.pid for process in group_state(GROUP, proc).processes)


@pytest.mark.parametrize("name", ["a b", "x) S 1 (y", "((", ")"])
def test_a_process_name_cannot_shift_the_fields(proc: Path, name: str) -> None:
    put(proc, 7, start=42, group=7, name=name)
    process = read_process(7, proc)
    assert process is not None
    assert (process.state, process.group, process.start_ticks) == ("S", 7, 42)


def test_live_leader_with_its_start_time_proves_its_group_ours(proc: Path) -> None:
    put(proc, 500, start=1000)
    put(proc, 501, start=9000)
    put(proc, 777, start=1500, group=777)
    assert group_state(GROUP, proc).ownership is Ownership.OURS
    assert pids(proc) == [500, 501]


def test_reused_leader_process_id_is_not_signalled(proc: Path) -> None:
    put(proc, 500, start=1001)
    put(proc, 501, start=1500)
    assert group_state(GROUP, proc).ownership is Ownership.REUSED
    assert pids(proc) == []


def test_children_of_a_dead_leader_are_ours_if_one_predates_the_last_check(proc: Path) -> None:
    put(proc, 501, start=2000)
    put(proc, 502, start=9000)
    assert group_state(GROUP, proc).ownership is Ownership.OURS
    assert pids(proc) == [501, 502]


def test_group_id_reused_after_the_last_check_is_not_proven_ours(proc: Path) -> None:
    put(proc, 501, start=2001)
    assert group_state(GROUP, proc).ownership is Ownership.UNPROVEN


def test_zombie_leader_proves_its_children_ours(proc: Path) -> None:
    put(proc, 500, start=1000, state="Z")
    put(proc, 501, start=9000)
    assert group_state(GROUP, proc).ownership is Ownership.OURS
    assert pids(proc) == [501]


@pytest.mark.parametrize("state", ["Z", "X"])
def test_group_of_zombies_is_not_signalled(proc: Path, state: str) -> None:
    put(proc, 500, start=1000, state=state)
    put(proc, 501, start=1500, state=state)
    assert group_state(GROUP, proc).ownership is Ownership.ENDED


def test_a_group_without_processes_has_ended(proc: Path) -> None:
    assert group_state(GROUP, proc).ownership is Ownership.ENDED


def test_a_child_that_has_ended_is_a_zombie_until_it_is_collected() -> None:
    me = read_process(os.getpid())
    assert me is not None
    before = zombies_of([me], every_process())
    child = subprocess.Popen([sys.executable, "-c", ""])
    while (ended := read_process(child.pid)) is not None and ended.runs:
        time.sleep(0.01)
    assert zombies_of([me], every_process()) == before + 1
    child.wait()
    assert zombies_of([me], every_process()) == before


def test_zombie_of_another_parent_is_not_counted() -> None:
    me = Process(7, "python", "S", group=7, start_ticks=1, parent=1)
    orphan = Process(8, "python", "Z", group=7, start_ticks=1, parent=1)
    child = Process(9, "python", "Z", group=7, start_ticks=1, parent=7)
    assert zombies_of([me], [me, orphan]) == 0
    assert zombies_of([me], [me, orphan, child]) == 1
