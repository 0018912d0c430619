"""A run must leave nothing behind: no process, no port, no shared memory, no temporary folder."""

from __future__ import annotations

import json
import mmap
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kvchaos.stacks.local_stack import (
    LocalStack,
    choose_port,
    inherited,
    make_folders,
)
from kvchaos.stacks.process_group import read_process
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import Launch
from kvchaos.stacks.server_files import PLAIN_PARTS, PLUGIN_PARTS

SERVER_TREE = Path(__file__).parents[2] / "fakes" / "server_tree.py"


class Bench:
    """A run directory with one stack."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        self.record = ProcessRegistry(
            folder / "state", run_id="r1", run_dir=self.run_dir, control_dir=self.run_dir / "control"
        )
        self.folders = make_folders(self.run_dir, self.record)
        self.pids_file = self.run_dir / "pids"
        self.stack: LocalStack | None = None

    def close(self) -> None:
        if self.stack is not None:
            self.stack.stop(grace_s=0)
        shutil.rmtree(self.folders.temp, ignore_errors=True)

    def make(self, *options: str) -> LocalStack:
        port = choose_port(None)
        command = (
            sys.executable,
            str(SERVER_TREE),
            "--port",
            str(port),
            "--pids",
            str(self.pids_file),
            *options,
        )
        self.stack = LocalStack(Launch(command, {}, port), self.folders, self.run_dir, self.record)
        return self.stack

    def start(self, *options: str) -> LocalStack:
        """A stack whose leader has its children."""
        stack = self.make(*options)
        stack.start()
        wait_for(self.pids_file.exists)
        return stack

    def running(self) -> list[int]:
        return [pid for pid in json.loads(self.pids_file.read_text()) if runs(pid)]


def runs(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.runs


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(tmp_path)) as made:
        yield made


def test_stop_removes_processes_port_and_temporary_folder(bench: Bench) -> None:
    stack = bench.start()
    stack.wait_ready(30)
    assert stack.alive()
    assert len(bench.running()) == 3
    stack.stop()
    assert bench.running() == []
    assert not stack.alive()
    assert is_free(stack.launch.port)
    assert not bench.folders.temp.exists()
    assert bench.record.state.groups == ()
    assert bench.record.state.temp_folders == ()


def test_processes_that_ignore_sigterm_are_killed(bench: Bench) -> None:
    stack = bench.start("--stubborn")
    assert len(bench.running()) == 3
    stack.stop(grace_s=0.2)
    assert bench.running() == []
    assert stack.exit_code() == -signal.SIGKILL


def test_children_of_a_leader_that_died_first_are_ended(bench: Bench) -> None:
    stack = bench.start("--exit", "7")
    wait_for(lambda: not stack.alive())
    assert len(bench.running()) == 2
    stack.stop()
    assert bench.running() == []
    assert stack.exit_code() == 7


def test_children_of_a_leader_that_was_killed_are_ended(bench: Bench) -> None:
    stack = bench.start("--stubborn")
    assert stack.pid is not None
    os.kill(stack.pid, signal.SIGKILL)
    wait_for(lambda: not stack.alive())
    assert len(bench.running()) == 2
    assert stack.exit_code() == -signal.SIGKILL
    stack.stop()
    assert bench.running() == []


def test_a_frozen_server_is_ended(bench: Bench) -> None:
    stack = bench.start()
    for pid in bench.running():
        os.kill(pid, signal.SIGSTOP)
    stack.stop(grace_s=0.2)
    assert bench.running() == []


def test_stop_may_be_repeated_and_precede_start(bench: Bench) -> None:
    stack = bench.make()
    stack.stop()
    assert not bench.folders.temp.exists()
    stack.start()
    assert bench.folders.temp.exists()
    stack.stop()
    stack.stop()
    assert not bench.folders.temp.exists()


def test_shared_memory_of_a_killed_server_is_removed_and_older_files_stay(tmp_path: Path) -> None:
    ours = f"kvchaos-test-{secrets.token_hex(4)}"
    older = Path(f"/dev/shm/kvchaos-test-older-{secrets.token_hex(4)}")
    older.write_bytes(b"before")
    bench = Bench(tmp_path)
    stack = bench.start("--stubborn", "--shm", ours)
    try:
        child = json.loads(bench.pids_file.read_text())[1]
        registration = Path(f"/dev/shm/__KMP_REGISTERED_LIB_{child}_0")
        wait_for(registration.exists)
        stack.observe()
        stack.stop(grace_s=0)
        assert not registration.exists()
        assert not Path("/dev/shm", ours).exists()
        assert older.read_bytes() == b"before"
    finally:
        stack.stop(grace_s=0)
        older.unlink()


def test_shared_memory_older_than_the_run_is_not_ours(tmp_path: Path) -> None:
    name = f"kvchaos-test-{secrets.token_hex(4)}"
    shared = Path("/dev/shm", name)
    shared.write_bytes(bytes(mmap.PAGESIZE))
    bench = Bench(tmp_path)
    stack = bench.start("--shm", name)
    try:
        child = json.loads(bench.pids_file.read_text())[1]
        wait_for(Path(f"/dev/shm/__KMP_REGISTERED_LIB_{child}_0").exists)
        stack.stop(grace_s=0)
        assert shared.exists()
    finally:
        stack.stop(grace_s=0)
        shared.unlink()


def test_nothing_runs_that_could_not_be_recorded(bench: Bench, tmp_path: Path) -> None:
    stack = bench.make()
    state_folder = tmp_path / "state"
    shutil.rmtree(state_folder)
    with pytest.raises(FileNotFoundError):
        stack.start()
    assert bench.record.state.groups == ()
    assert not stack.alive()
    assert not bench.pids_file.exists()
    state_folder.mkdir()


def test_a_record_that_cannot_be_written_does_not_keep_a_server_alive(bench: Bench, tmp_path: Path) -> None:
    stack = bench.start("--stubborn")
    shutil.rmtree(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        stack.stop(grace_s=0)
    assert bench.running() == []
    assert not bench.folders.temp.exists()
    (tmp_path / "state").mkdir()


def test_the_record_stays_while_a_group_runs(bench: Bench) -> None:
    stack = bench.start()
    bench.record.close()
    assert bench.record.path.exists()
    stack.stop()
    bench.record.close()
    assert not bench.record.path.exists()


def test_restart_is_a_new_process_with_the_same_port_and_log(bench: Bench) -> None:
    stack = bench.start("--stubborn")
    stack.wait_ready(30)
    first, older = stack.pid, bench.running()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not stack.alive())
    bench.pids_file.unlink()
    stack.start()
    stack.wait_ready(30)
    wait_for(bench.pids_file.exists)
    assert not any(runs(pid) for pid in older)
    assert (stack.alive(), stack.exit_code()) == (True, None)
    assert stack.pid == bench.running()[0] != first
    assert [group.leader for group in bench.record.state.groups] == [stack.pid]
    assert bench.record.state.temp_folders == (str(bench.folders.temp),)
    stack.stop(grace_s=0)
    assert bench.running() == []
    assert (bench.run_dir / "server.log").read_text().count("children run") == 2


@pytest.mark.parametrize("parts", [PLAIN_PARTS, PLUGIN_PARTS])
def test_server_import_path_has_only_the_named_packages(tmp_path: Path, parts: tuple[str, ...]) -> None:
    record = ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )
    folders = make_folders(tmp_path, record, parts)
    folders.temp.rmdir()
    found = {path for folder in folders.plugin.iterdir() for path in folder.iterdir()}
    assert found == {folders.plugin / part for part in parts}
    assert all(part.is_file() or (part / "__init__.py").is_file() for part in found)


SUITE = ("history", "kvchaos", "loadtests", "oracles")


def test_packages_in_the_server_import_no_other_suite_package(tmp_path: Path) -> None:
    record = ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )
    folders = make_folders(tmp_path, record, PLUGIN_PARTS)
    folders.temp.rmdir()
    modules = ["chaos.inside.fault_runtime", "chaos.inside.managers.tier_faults", "history.protocol.evidence"]
    code = f"import {', '.join(modules)}, sys; print(*sorted(sys.modules), sep='\\n')"
    environment = {"PYTHONPATH": str(folders.plugin), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    found = {name for name in printed.stdout.split() if name.partition(".")[0] in SUITE}
    assert {name for name in found if not name.startswith("history.protocol.")} == {
        "history",
        "history.protocol",
    }


def test_variables_that_change_the_server_are_not_inherited() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/home/u",
        "VLLM_USE_V1": "0",
        "PYTHONPATH": "/suite",
        "LD_PRELOAD": "/x.so",
        "OMP_NUM_THREADS": "64",
        "PROMETHEUS_MULTIPROC_DIR": "/p",
    }
    assert inherited(given) == {"PATH": "/bin", "HOME": "/home/u"}
