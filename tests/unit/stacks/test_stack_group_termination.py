"""What a group of processes has must be known before it is killed, and it must be killed whole."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kvchaos.stacks import shared_memory
from kvchaos.stacks.local_stack import TEMP_PREFIX, LocalStack, make_folders
from kvchaos.stacks.process_group import PROC, Group, freeze, group_of, kill_group
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import Launch
from tests.support.fake_server_runs import runs, wait_for

SERVER_TREE = Path(__file__).parents[2] / "fakes" / "server_tree.py"
THREADS = """
import sys, threading, time
def turn():
    while True:
        time.sleep(0.001)
for _ in range(8):
    threading.Thread(target=turn).start()
print("ready", flush=True)
"""


@pytest.fixture
def threads() -> Iterator[Group]:
    """A process with busy threads."""
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE, process_group=0) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield group_of(child.pid, "server")
        child.kill()


def states(pid: int) -> list[str]:
    """Of every thread."""
    stats = [(task / "stat").read_text() for task in (PROC / str(pid) / "task").iterdir()]
    return [stat[stat.rindex(")") + 2] for stat in stats]


def test_every_thread_is_stopped_while_files_are_recorded(threads: Group) -> None:
    noted: list[list[str]] = []
    freeze(threads, lambda pids: noted.append(states(threads.leader)))
    assert noted == [["T"] * 9]


def test_foreign_process_group_is_not_stopped(threads: Group) -> None:
    stranger = Group(leader=threads.leader, start_ticks=threads.start_ticks - 1, seen_ticks=0, what="server")
    noted: list[int] = []
    assert freeze(stranger, noted.extend) == ()
    assert "T" not in states(threads.leader)
    assert noted == []


def test_a_killed_group_is_noted_first(threads: Group) -> None:
    alive: list[bool] = []

    def note(pids: Iterable[int]) -> None:
        alive.extend(map(runs, pids))

    assert kill_group(threads, note).processes == ()
    assert alive == [True, True]  # once as the leader, once as a member


class Served:
    """A stack whose fake server makes shared memory."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.prefix = f"kvchaos-test-{secrets.token_hex(4)}"
        self.record = ProcessRegistry(
            folder / "state", run_id="r1", run_dir=folder, control_dir=folder / "control"
        )
        command = (sys.executable, str(SERVER_TREE), "--pids", str(folder / "pids"), *options, self.prefix)
        launch = Launch(command, {}, 1)
        self.stack = LocalStack(launch, make_folders(folder, self.record), folder, self.record)

    def left(self) -> list[Path]:
        return sorted(Path("/dev/shm").glob(f"*{self.prefix}*"))

    def start(self) -> None:
        self.stack.start()
        wait_for(lambda: len(self.left()) >= 4)

    def put_away(self) -> None:
        self.stack.stop(grace_s=0)
        for path in self.left():
            path.unlink()


@pytest.fixture(params=["--orphan-shm", "--endless-shm"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, request.param)
    yield made
    made.put_away()


def test_files_created_at_server_shutdown_are_removed(served: Served) -> None:
    served.start()
    served.stack.stop()
    assert served.left() == []
    assert served.stack.exit_code() == -signal.SIGTERM


def test_files_created_after_a_leader_kill_are_removed(served: Served) -> None:
    served.start()
    assert served.stack.pid is not None
    os.kill(served.stack.pid, signal.SIGKILL)
    served.stack.stop()
    assert served.left() == []


def test_restarted_server_may_stop_normally(served: Served) -> None:
    served.start()
    assert served.stack.pid is not None
    os.kill(served.stack.pid, signal.SIGKILL)
    wait_for(lambda: not served.stack.alive())
    served.start()
    served.stack.stop()
    assert served.stack.exit_code() == -signal.SIGTERM
    assert served.left() == []


def test_mapped_file_of_another_user_is_not_ours(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.start()
    (noted, *_) = shared_memory.files_of([process.pid for process in served.stack.processes()])
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1)
        assert shared_memory.files_of([process.pid for process in served.stack.processes()]) == set()
        assert shared_memory.remove([noted]) == []
    assert Path(noted.path).exists()


def test_temporary_folder_is_recorded_before_its_creation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if path.name.startswith(TEMP_PREFIX):
            recorded.append(str(path) in record.path.read_text())
            raise PermissionError(13, "no")
        os.makedirs(path, mode, exist_ok)  # noqa: PTH103 (pathlib's own is replaced)

    recorded: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(PermissionError):
            make_folders(tmp_path, record)
    assert recorded == [True]
    assert record.state.temp_folders == ()
