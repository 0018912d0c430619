"""After a SIGKILL of the conductor the next command ends exactly what was left, and nothing else."""

from __future__ import annotations

import json
import mmap
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from kvchaos.cli.clean_command import clean_command
from kvchaos.errors import UsageError
from kvchaos.stacks.orphans import DRAFT_S, end_and_remove, find_orphans, remove_drafts
from kvchaos.stacks.process_group import Group, read_process
from kvchaos.stacks.process_registry import ConductorProcess, ProcessRegistry, RegisteredStarter, RunState

ROOT = Path(__file__).parents[3]
CONDUCTOR = ROOT / "tests" / "fakes" / "doomed_conductor.py"
SERVER_TREE = ROOT / "tests" / "fakes" / "server_tree.py"


def runs(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.runs


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Doomed:
    """A conductor with a fake server, to be killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.state_folder = folder / "state"
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, str(CONDUCTOR), str(self.state_folder), str(self.run_dir), *options],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout as output:
            assert output.readline() == b"ready\n"
        self.server: list[int] = json.loads((self.run_dir / "pids").read_text())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def state(self) -> RunState:
        return msgspec.json.decode((self.state_folder / "doomed.json").read_bytes(), type=RunState)

    def put_away(self) -> None:
        """Whatever a failed test left."""
        self.kill()
        for leftover in find_orphans(self.state_folder):
            end_and_remove(leftover, grace_s=0)


def left_of(prefix: str) -> list[Path]:
    """Files with that in their names."""
    return sorted(Path("/dev/shm").glob(f"*{prefix}*"))


@contextmanager
def making_shm(folder: Path, variant: str) -> Iterator[tuple[Doomed, str]]:
    """A run whose server makes shared memory, and what is in the names of all of it."""
    prefix = f"kvchaos-test-{secrets.token_hex(4)}"
    doomed = Doomed(folder, variant, prefix)
    try:
        wait_for(lambda: len(left_of(prefix)) >= 3)
        yield doomed, prefix
    finally:
        doomed.put_away()
        for path in left_of(prefix):
            path.unlink()


def interrupt(_: object) -> list[str]:
    raise KeyboardInterrupt


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Doomed]:
    made = Doomed(tmp_path)
    yield made
    made.put_away()


@pytest.fixture
def decoy() -> Iterator[int]:
    """A process with the server's very command line that is none of ours."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()", "server_tree.py"], process_group=0
    )
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def record(tmp_path: Path) -> ProcessRegistry:
    return ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )


def rewrite(record: ProcessRegistry, **changes: object) -> RunState:
    """The record as another conductor would have written it."""
    state: RunState = msgspec.structs.replace(record.state, **changes)
    record.path.write_bytes(msgspec.json.encode(state))
    return state


def of_dead_conductor(record: ProcessRegistry, **changes: object) -> RunState:
    """As if written by an earlier process that had our id."""
    me = record.state.conductor
    return rewrite(record, conductor=ConductorProcess(pid=me.pid, start_ticks=me.start_ticks - 1), **changes)


def test_server_of_a_killed_conductor_is_ended_and_unrelated_ones_survive(doomed: Doomed, decoy: int) -> None:
    doomed.kill()
    assert all(runs(pid) for pid in doomed.server)
    (leftover,) = find_orphans(doomed.state_folder)
    result = end_and_remove(leftover)
    assert not any(runs(pid) for pid in doomed.server)
    assert runs(decoy)
    assert result.remaining == ()
    assert any(f"server {doomed.server[0]} (3 " in line for line in result.ended)
    assert not Path(leftover.state.temp_folders[0]).exists()
    assert list(doomed.state_folder.iterdir()) == []
    assert find_orphans(doomed.state_folder) == []


def test_clean_disarms_faults_of_a_killed_conductor(doomed: Doomed) -> None:
    doomed.kill()
    assert (doomed.run_dir / "control" / "armed.json").exists()
    end_and_remove(find_orphans(doomed.state_folder)[0], grace_s=0)
    assert not (doomed.run_dir / "control" / "armed.json").exists()


def test_clean_leaves_a_live_conductor_running(doomed: Doomed) -> None:
    assert find_orphans(doomed.state_folder) == []


def test_children_are_ended_when_leader_and_conductor_were_killed(doomed: Doomed) -> None:
    doomed.kill()
    leader, *children = doomed.server
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not runs(leader))
    assert all(runs(pid) for pid in children)
    end_and_remove(find_orphans(doomed.state_folder)[0])
    assert not any(runs(pid) for pid in children)


def test_shared_memory_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    name = f"kvchaos-test-{secrets.token_hex(4)}"
    doomed = Doomed(tmp_path, "--stubborn", "--shm", name)
    try:
        registration = Path(f"/dev/shm/__KMP_REGISTERED_LIB_{doomed.server[1]}_0")
        wait_for(registration.exists)
        doomed.kill()
        end_and_remove(find_orphans(doomed.state_folder)[0], grace_s=0)
        assert not registration.exists()
        assert not Path("/dev/shm", name).exists()
    finally:
        doomed.put_away()


def test_interrupted_clean_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with making_shm(tmp_path, "--orphan-shm") as (doomed, prefix):
        doomed.kill()
        with monkeypatch.context() as patch:
            patch.setattr("kvchaos.stacks.shared_memory.remove", interrupt)
            with pytest.raises(KeyboardInterrupt):
                end_and_remove(find_orphans(doomed.state_folder)[0])
        assert left_of(prefix) != []
        assert not any(runs(pid) for pid in doomed.server)
        end_and_remove(find_orphans(doomed.state_folder)[0])
        assert left_of(prefix) == []


@pytest.mark.parametrize("variant", ["--orphan-shm", "--endless-shm"])
def test_files_created_during_clean_are_removed(tmp_path: Path, variant: str) -> None:
    with making_shm(tmp_path, variant) as (doomed, prefix):
        doomed.kill()
        end_and_remove(find_orphans(doomed.state_folder)[0])
        assert not any(runs(pid) for pid in doomed.server)
        assert left_of(prefix) == []
        assert find_orphans(doomed.state_folder) == []


def test_shared_memory_of_an_unrelated_process_survives(tmp_path: Path) -> None:
    """It is of the same kind, younger than the run, and its process runs no more."""
    with making_shm(tmp_path, "--endless-shm") as (doomed, prefix):
        theirs = Path(f"/dev/shm/psm_{secrets.token_hex(4)}"), Path(f"/dev/shm/sem.mp-{secrets.token_hex(4)}")
        for path in theirs:
            path.write_bytes(bytes(mmap.PAGESIZE))
        try:
            doomed.kill()
            end_and_remove(find_orphans(doomed.state_folder)[0])
            assert left_of(prefix) == []
            assert all(path.exists() for path in theirs)
        finally:
            for path in theirs:
                path.unlink()


def test_shared_memory_also_used_by_an_unrelated_process_survives(tmp_path: Path) -> None:
    with making_shm(tmp_path, "--endless-shm") as (doomed, prefix):
        shared = left_of(prefix)[0]
        with shared.open("r+b") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE):
            doomed.kill()
            end_and_remove(find_orphans(doomed.state_folder)[0])
            assert left_of(prefix) == [shared]


def test_child_outside_the_process_group_is_ended(tmp_path: Path) -> None:
    doomed = Doomed(tmp_path, "--stray")
    try:
        doomed.kill()
        wait_for(lambda: os.getsid(doomed.server[1]) == doomed.server[1])
        end_and_remove(find_orphans(doomed.state_folder)[0])
        assert not any(runs(pid) for pid in doomed.server)
    finally:
        doomed.put_away()


def test_load_process_of_a_killed_conductor_is_ended(record: ProcessRegistry, tmp_path: Path) -> None:
    deaf = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        (tmp_path / "log").open("wb") as log,
        RegisteredStarter(record).start(deaf, tmp_path, log) as process,
    ):
        of_dead_conductor(record)
        result = end_and_remove(find_orphans(tmp_path / "state")[0])
        (ended,) = result.ended
        assert f"load {process.pid} " in ended
        assert process.wait() == -signal.SIGTERM


def test_a_process_that_got_the_leaders_id_is_not_ended(
    record: ProcessRegistry, decoy: int, tmp_path: Path
) -> None:
    stranger = read_process(decoy)
    assert stranger is not None
    group = Group(leader=decoy, start_ticks=stranger.start_ticks - 1, seen_ticks=2**62, what="server")
    of_dead_conductor(record, groups=(group,))
    result = end_and_remove(find_orphans(tmp_path / "state")[0])
    assert runs(decoy)
    assert (result.ended, result.remaining) == ((), ())
    assert not record.path.exists()


def test_clean_ignores_runs_of_other_machines(record: ProcessRegistry, tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(record.state.place, host="elsewhere", boot="other")
    of_dead_conductor(record, place=elsewhere)
    assert find_orphans(tmp_path / "state") == []


def test_clean_ignores_runs_of_other_containers(record: ProcessRegistry, tmp_path: Path) -> None:
    of_dead_conductor(record, place=msgspec.structs.replace(record.state.place, pid_namespace="pid:[1]"))
    assert find_orphans(tmp_path / "state") == []


def test_process_ids_from_before_a_reboot_are_ignored(
    record: ProcessRegistry, decoy: int, tmp_path: Path
) -> None:
    stranger = read_process(decoy)
    assert stranger is not None
    group = Group(leader=decoy, start_ticks=stranger.start_ticks, seen_ticks=2**62, what="server")
    temp = tmp_path / "temp"
    temp.mkdir()
    elsewhere = msgspec.structs.replace(record.state.place, boot="before")
    rewrite(record, groups=(group,), place=elsewhere, temp_folders=(str(temp),))
    result = end_and_remove(find_orphans(tmp_path / "state")[0])
    assert runs(decoy)
    assert result.ended == (f"removed {temp}",)
    assert not temp.exists()


def test_unproven_children_are_named_and_stay_recorded(record: ProcessRegistry, tmp_path: Path) -> None:
    pids_file = tmp_path / "pids"
    command = [sys.executable, str(SERVER_TREE), "--exit", "0", "--children", "1", "--pids", str(pids_file)]
    leader = subprocess.Popen(command, process_group=0, stderr=subprocess.DEVNULL)
    leader.wait()
    child = json.loads(pids_file.read_text())[1]
    try:
        group = Group(leader=leader.pid, start_ticks=0, seen_ticks=0, what="server")
        of_dead_conductor(record, groups=(group,))
        result = end_and_remove(find_orphans(tmp_path / "state")[0])
        assert runs(child)
        (remaining,) = result.remaining
        assert f"server {leader.pid} " in remaining
        assert f" {child} " in remaining
        assert record.path.exists()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "r1.json").write_text('{"v":1}')
    with pytest.raises(UsageError, match=r"r1\.json: "):
        find_orphans(tmp_path)


def test_a_draft_without_a_record_is_removed_when_no_conductor_can_be_writing_it(tmp_path: Path) -> None:
    old, new, recorded = (tmp_path / f"{name}.draft" for name in ("old", "new", "recorded"))
    for draft in (old, new, recorded):
        draft.write_text("{")
    recorded.with_suffix(".json").write_text("{}")
    long_ago = time.time() - 2 * DRAFT_S
    for draft in (old, recorded):
        os.utime(draft, (long_ago, long_ago))
    assert remove_drafts(tmp_path) == [str(old)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "new.draft",
        "recorded.draft",
        "recorded.json",
    ]


def test_clean_command_lists_what_it_ended(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KVCHAOS_CACHE", str(doomed.state_folder.parent))
    clean_command()
    assert len(capsys.readouterr().out.splitlines()) == 1
    doomed.kill()
    clean_command()
    output = capsys.readouterr().out
    assert str(doomed.run_dir) in output.splitlines()[0]
    assert f"server {doomed.server[0]} (3 processes)" in output
    assert not any(runs(pid) for pid in doomed.server)
