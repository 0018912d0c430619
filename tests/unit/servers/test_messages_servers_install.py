"""What is said of a server that cannot be installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.paths import lib_folder
from kvchaos.servers.install_server import check_machine, install, remove
from tests.support.fake_programs import FakeUv, RecordedProgress, server_python
from tests.unit.servers.test_servers_install import RELEASE, marker


@pytest.fixture
def uv(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    """A fake uv, and a tcmalloc that is there already."""
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    lib_folder(cache).mkdir()
    (lib_folder(cache) / "libtcmalloc_minimal.so.4").touch()
    return FakeUv(tmp_path)


def test_build_without_cpu_platform_is_refused(cache: Path, uv: FakeUv) -> None:
    uv.behave(python=server_python(cpu=False))
    with pytest.raises(UsageError, match="the CPU platform"):
        install(RELEASE, cache, RecordedProgress(), uv.path)
    assert not marker(cache).exists()


def test_an_unknown_release_touches_nothing(cache: Path, uv: FakeUv) -> None:
    before = sorted(cache.rglob("*"))
    with pytest.raises(UsageError, match="unknown vLLM release"):
        install("0.99.0", cache, RecordedProgress(), uv.path)
    assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "aarch64")])
def test_machines_without_wheels_are_pointed_to_add(system: str, machine: str) -> None:
    with pytest.raises(UsageError, match="kvchaos server add"):
        check_machine(system, machine)


def test_removing_an_unknown_server_is_an_error(cache: Path) -> None:
    with pytest.raises(UsageError, match="no server named mine"):
        remove("mine", cache, RecordedProgress())
