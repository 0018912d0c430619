"""The doctor: what would make a run fail is `bad` and comes with the command that mends it."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest

from kvchaos.cli.app import run
from kvchaos.doctor import all_checks, machine_checks
from kvchaos.doctor.all_checks import examine
from kvchaos.doctor.check import GIB, MIB, Check, CheckState
from kvchaos.doctor.machine_checks import Quota
from kvchaos.planning.open_file_limits import needs_of_run
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from kvchaos.servers.server_registry import MARKER, ServerEnv, server_folder, write_server

FREE = resource.RLIM_INFINITY
OK, WARN, BAD = CheckState.OK, CheckState.WARN, CheckState.BAD


def added_server(cache: Path) -> ServerEnv:
    folder = server_folder("mine", cache)
    folder.mkdir(parents=True)
    (folder / "python").touch()
    server = ServerEnv(
        name="mine",
        kind="added",
        vllm="0.33.0",
        torch="2.14.0",
        python=folder / "python",
        python_version="3.12.1",
        preload=(),
        entry_module="vllm.entrypoints.openai.api_server",
    )
    write_server(folder, server)
    return server


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (machine_checks.check_python(("3", "10", "9")), BAD),
        (machine_checks.check_python(("3", "11", "0")), OK),
        (machine_checks.check_python(("3", "14", "0rc1")), OK),
        (all_checks.check_uv(None), BAD),
        (all_checks.check_uv(Path("/bin/uv")), OK),
        (machine_checks.check_machine("Linux", "aarch64"), BAD),
        (machine_checks.check_machine("Darwin", "x86_64"), BAD),
        (machine_checks.check_machine("Linux", "x86_64"), OK),
        (machine_checks.check_processor("flags\t\t: fpu sse avx\n"), BAD),
        (machine_checks.check_processor("flags\t\t: fpu avx2\n"), OK),
        (machine_checks.check_processor(""), WARN),
        (machine_checks.check_memory("MemAvailable:    2097152 kB\n"), WARN),
        (machine_checks.check_memory("MemTotal: 9 kB\nMemAvailable:   16777216 kB\n"), OK),
        (machine_checks.check_memory(""), WARN),
        (machine_checks.check_shm(None), BAD),
        (machine_checks.check_shm(64 * MIB), WARN),
        (machine_checks.check_shm(512 * MIB), OK),
        (machine_checks.check_tmp(None, None), BAD),
        (machine_checks.check_tmp(Path("/tmp"), None), BAD),
        (machine_checks.check_tmp(Path("/tmp"), 31 * MIB), BAD),
        (machine_checks.check_tmp(Path("/tmp"), 511 * MIB), WARN),
        (machine_checks.check_tmp(Path("/tmp"), 512 * MIB), OK),
        (machine_checks.check_open_files(256, 511), BAD),
        (machine_checks.check_open_files(1024, 1024), WARN),
        (machine_checks.check_open_files(1024, 20_000), OK),
        (machine_checks.check_open_files(1024, FREE), OK),
        (machine_checks.check_open_files(FREE, FREE), OK),
        (machine_checks.check_processes([]), OK),
        (machine_checks.check_processes([Quota("the account", 4096, 100)]), OK),
        (
            machine_checks.check_processes([Quota("the account", 4096, 100), Quota("the cgroup", 600, 100)]),
            WARN,
        ),
        (
            machine_checks.check_processes([Quota("the cgroup", 200, 100), Quota("the account", 4096, 100)]),
            BAD,
        ),
        (machine_checks.check_inotify(None, 0), WARN),
        (machine_checks.check_inotify(128, 121), WARN),
        (machine_checks.check_inotify(128, 3), OK),
        (machine_checks.check_memory_lock(32 * 1024), WARN),
        (machine_checks.check_memory_lock(8 * MIB), OK),
        (machine_checks.check_memory_lock(FREE), OK),
        (machine_checks.check_disk("disk for servers", Path("/c"), None, least=GIB, wanted=10 * GIB), BAD),
        (machine_checks.check_disk("disk for servers", Path("/c"), GIB - 1, least=GIB, wanted=10 * GIB), BAD),
        (
            machine_checks.check_disk("disk for servers", Path("/c"), 9 * GIB, least=GIB, wanted=10 * GIB),
            WARN,
        ),
        (machine_checks.check_disk("disk for servers", Path("/c"), 10 * GIB, least=GIB, wanted=10 * GIB), OK),
        (all_checks.check_tcmalloc(None, fetchable=False), BAD),
        (all_checks.check_tcmalloc(None, fetchable=True), OK),
        (all_checks.check_tcmalloc(Path("/lib/libtcmalloc.so.4"), fetchable=False), OK),
        (all_checks.check_browser(None), WARN),
        (all_checks.check_browser(Path("/usr/bin/chromium")), OK),
        (all_checks.check_prometheus(None), WARN),
        (all_checks.check_prometheus(Path("/usr/bin/prometheus")), OK),
    ],
)
def test_check_state_follows_from_the_finding(check: Check, state: CheckState) -> None:
    assert check.state is state
    assert check.found
    assert state is OK or check.fix, "a complaint needs its mending command"


def test_the_right_variable_is_named_for_a_full_disk() -> None:
    runs = machine_checks.check_disk("disk for runs", Path("/r"), 0, least=1, wanted=2)
    servers = machine_checks.check_disk("disk for servers", Path("/c"), 0, least=1, wanted=2)
    assert "KVCHAOS_RUNS" in runs.fix
    assert "KVCHAOS_CACHE" in servers.fix


def test_free_space_of_a_future_folder_is_measured_at_its_parent(tmp_path: Path) -> None:
    checks = {check.name: check for check in examine(tmp_path / "a" / "b", tmp_path / "c")}
    assert checks["disk for servers"].found.endswith("/a/b")
    assert not (tmp_path / "a").exists()


def test_soft_and_hard_file_limits_are_shown() -> None:
    check = machine_checks.check_open_files(1024, 2048)
    assert check.found == "1,024, hard: 2,048"
    assert "--nofile=" in check.fix


def test_packaged_scenarios_fit_the_smallest_accepted_file_limit() -> None:
    scenarios = [load_scenario(path) for path in scenario_files()]
    needs = [need for each in scenarios for need in needs_of_run(each, 1, "local", joined=False)]
    assert max(need.files for need in needs) <= machine_checks.FILES_LEAST


def test_threads_of_other_users_are_not_counted(tmp_path: Path) -> None:
    for pid, uid, threads in ((1, os.getuid(), 3), (20, os.getuid(), 4), (300, os.getuid() + 1, 50)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{uid}\t0\t0\t0\nThreads:\t{threads}\n")
    (tmp_path / "400").mkdir()  # it has just ended
    (tmp_path / "self").mkdir()
    assert machine_checks.used_threads(tmp_path) == 7


def test_inotify_instances_are_counted_by_descriptors(tmp_path: Path) -> None:
    (tmp_path / "7" / "fd").mkdir(parents=True)
    (tmp_path / "7" / "fd" / "3").symlink_to("anon_inode:inotify")
    (tmp_path / "7" / "fd" / "4").symlink_to("anon_inode:[eventpoll]")
    (tmp_path / "8").mkdir()
    assert machine_checks.used_watchers(tmp_path) == 1


def test_threads_of_this_process_are_counted_for_its_user() -> None:
    assert machine_checks.used_threads() >= 1


def test_each_user_limit_is_checked(tmp_path: Path) -> None:
    names = {check.name for check in examine(tmp_path, tmp_path)}
    assert {"open files", "processes", "/dev/shm", "inotify", "memory lock", "temporary files"} <= names


def test_a_missing_folder_for_temporary_files_is_bad_and_does_not_end_the_doctor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    (check,) = (
        check for check in machine_checks.examine_disk(tmp_path, tmp_path) if check.name == "temporary files"
    )
    assert check.state is BAD
    assert "export TMPDIR=" in check.fix


def server_checks(cache: Path) -> list[Check]:
    return [check for check in examine(cache, cache) if check.name.startswith("server ")]


def test_complete_server_is_ok(cache: Path) -> None:
    added_server(cache)
    assert [(check.name, check.state) for check in server_checks(cache)] == [("server mine", OK)]


def test_server_without_its_interpreter_is_bad(cache: Path) -> None:
    added_server(cache).python.unlink()
    (check,) = server_checks(cache)
    assert (check.state, check.fix) == (BAD, "kvchaos server remove mine")


def test_a_broken_marker_is_bad_and_does_not_end_the_doctor(cache: Path) -> None:
    added_server(cache)
    (server_folder("mine", cache) / MARKER).write_text("{")
    (check,) = server_checks(cache)
    assert (check.state, check.fix) == (BAD, "kvchaos server remove mine")


def test_interrupted_installation_is_reported(cache: Path) -> None:
    server_folder("0.32.0", cache).mkdir(parents=True)
    (check,) = server_checks(cache)
    assert (check.state, check.fix) == (WARN, "kvchaos server install 0.32.0")


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 3)])
def test_exit_code_is_nonzero_on_a_bad_check(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: bool, code: int
) -> None:
    checks = [Check("one", OK, "fine"), Check("two", WARN, "meagre", "feed it")]
    if broken:
        checks.append(Check("three", BAD, "[gone]", "kvchaos server install 0.32.0"))
    monkeypatch.setattr("kvchaos.cli.setup_commands.examine", lambda *_: iter(checks))
    assert run(["doctor"]) == code
    shown = capsys.readouterr().out
    assert "feed it" in shown
    assert ("[gone]" in shown) == broken
