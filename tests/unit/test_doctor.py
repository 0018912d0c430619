"""The doctor: what would make a run fail is `bad` and comes with the command that mends it."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from kvchaos import doctor
from kvchaos.cli.app import run
from kvchaos.doctor import GIB, MIB, Check, State
from kvchaos.servers.registry import MARKER, ServerEnv, server_folder, write_server

OK, WARN, BAD = State.OK, State.WARN, State.BAD


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
        (doctor.check_python(("3", "10", "9")), BAD),
        (doctor.check_python(("3", "11", "0")), OK),
        (doctor.check_python(("3", "14", "0rc1")), OK),
        (doctor.check_uv(None), BAD),
        (doctor.check_uv(Path("/bin/uv")), OK),
        (doctor.check_machine("Linux", "aarch64"), BAD),
        (doctor.check_machine("Darwin", "x86_64"), BAD),
        (doctor.check_machine("Linux", "x86_64"), OK),
        (doctor.check_processor("flags\t\t: fpu sse avx\n"), BAD),
        (doctor.check_processor("flags\t\t: fpu avx2\n"), OK),
        (doctor.check_processor(""), WARN),
        (doctor.check_memory("MemAvailable:    2097152 kB\n"), WARN),
        (doctor.check_memory("MemTotal: 9 kB\nMemAvailable:   16777216 kB\n"), OK),
        (doctor.check_memory(""), WARN),
        (doctor.check_shm(None), BAD),
        (doctor.check_shm(64 * MIB), WARN),
        (doctor.check_shm(512 * MIB), OK),
        (doctor.check_open_files(256), WARN),
        (doctor.check_open_files(1024), OK),
        (doctor.check_open_files(resource.RLIM_INFINITY), OK),
        (doctor.check_disk("disk for servers", Path("/c"), None, least=GIB, wanted=10 * GIB), BAD),
        (doctor.check_disk("disk for servers", Path("/c"), GIB - 1, least=GIB, wanted=10 * GIB), BAD),
        (doctor.check_disk("disk for servers", Path("/c"), 9 * GIB, least=GIB, wanted=10 * GIB), WARN),
        (doctor.check_disk("disk for servers", Path("/c"), 10 * GIB, least=GIB, wanted=10 * GIB), OK),
        (doctor.check_tcmalloc(None, fetchable=False), BAD),
        (doctor.check_tcmalloc(None, fetchable=True), OK),
        (doctor.check_tcmalloc(Path("/lib/libtcmalloc.so.4"), fetchable=False), OK),
        (doctor.check_browser(None), WARN),
        (doctor.check_browser(Path("/usr/bin/chromium")), OK),
        (doctor.check_prometheus(None), WARN),
        (doctor.check_prometheus(Path("/usr/bin/prometheus")), OK),
    ],
)
def test_what_was_found_decides(check: Check, state: State) -> None:
    assert check.state is state
    assert check.found
    assert state is OK or check.mend, "a complaint needs its mending command"


def test_the_right_variable_is_named_for_a_full_disk() -> None:
    runs = doctor.check_disk("disk for runs", Path("/r"), 0, least=1, wanted=2)
    servers = doctor.check_disk("disk for servers", Path("/c"), 0, least=1, wanted=2)
    assert "KVCHAOS_RUNS" in runs.mend
    assert "KVCHAOS_CACHE" in servers.mend


def test_a_folder_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path / "a" / "b", tmp_path / "c")}
    assert re.search(r"GiB free in .*/a/b", checks["disk for servers"].found)
    assert not (tmp_path / "a").exists()


def server_checks(cache: Path) -> list[Check]:
    return [check for check in doctor.examine(cache, cache) if check.name.startswith("server ")]


def test_a_whole_server_is_ok(cache: Path) -> None:
    added_server(cache)
    assert [(check.name, check.state) for check in server_checks(cache)] == [("server mine", OK)]


def test_a_server_whose_interpreter_is_gone_is_bad(cache: Path) -> None:
    added_server(cache).python.unlink()
    (check,) = server_checks(cache)
    assert (check.state, check.mend) == (BAD, "kvchaos server remove mine")


def test_a_broken_marker_is_bad_and_does_not_end_the_doctor(cache: Path) -> None:
    added_server(cache)
    (server_folder("mine", cache) / MARKER).write_text("{")
    (check,) = server_checks(cache)
    assert (check.state, check.mend) == (BAD, "kvchaos server remove mine")


def test_an_interrupted_installation_is_told(cache: Path) -> None:
    server_folder("0.32.0", cache).mkdir(parents=True)
    (check,) = server_checks(cache)
    assert (check.state, check.mend) == (WARN, "kvchaos server install 0.32.0")


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 3)])
def test_the_exit_code_tells_whether_anything_is_bad(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: bool, code: int
) -> None:
    checks = [Check("one", OK, "fine"), Check("two", WARN, "meagre", "feed it")]
    if broken:
        checks.append(Check("three", BAD, "[gone]", "kvchaos server install 0.32.0"))
    monkeypatch.setattr("kvchaos.cli.doctor.examine", lambda *_: iter(checks))
    assert run(["doctor"]) == code
    shown = capsys.readouterr().out
    assert "feed it" in shown
    assert ("[gone]" in shown) == broken
