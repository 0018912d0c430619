"""What a build is called in a job, and which environment it gets."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.job import candidate_server
from kvchaos.nightly.job.candidate_server import build_name, ensure_server, source_of
from kvchaos.servers.install_server import add
from kvchaos.servers.server_registry import find_server
from tests.support.fake_programs import FakeUv, RecordedProgress, cuda_python

GIT = "git+https://host.example/vllm@0123abc"


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    fake = FakeUv(tmp_path)
    monkeypatch.setattr(candidate_server, "find_uv_bin", lambda: str(fake.path))
    monkeypatch.setattr(candidate_server, "configured_find_links", lambda python: [])
    return fake


def wheel(folder: Path, name: str = "vllm-1-py3-none-any.whl") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.touch()
    return path


@pytest.mark.parametrize("name", ["0.32.0", "mine", "build-0123"])
def test_name_of_an_environment_is_no_source(name: str) -> None:
    assert source_of(name) is None


@pytest.mark.parametrize("url", [GIT, "https://host.example/a/vllm-1-cp312-linux_x86_64.whl"])
def test_address_of_a_commit_or_wheel_is_a_source(url: str) -> None:
    assert source_of(url) == f"vllm @ {url}"


def test_folder_with_one_wheel_and_the_wheel_itself_are_the_same_source(tmp_path: Path) -> None:
    path = wheel(tmp_path / "dist")
    assert source_of(str(path)) == source_of(str(path.parent)) == str(path)


def test_folder_with_source_code_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert source_of(str(tmp_path)) == str(tmp_path)


def test_folder_with_two_wheels_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path)
    wheel(tmp_path, "vllm-2-py3-none-any.whl")
    with pytest.raises(UsageError):
        source_of(str(tmp_path))


@pytest.mark.parametrize("name", ["missing.whl", "missing/", "./"])
def test_missing_wheel_or_source_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        source_of(name)


@pytest.mark.parametrize("name", ["--index-url=x", "vllm; touch x", "git+https://a b", "unknown"])
def test_other_text_never_reaches_the_installer(name: str, cache: Path, uv: FakeUv) -> None:
    with pytest.raises(UsageError):
        ensure_server(name, cache, RecordedProgress())
    assert uv.calls == []


def test_registered_environment_is_used_as_it_is(tmp_path: Path, cache: Path, uv: FakeUv) -> None:
    add("mine", cuda_python(tmp_path / "theirs"), cache, RecordedProgress())
    assert ensure_server("mine", cache, RecordedProgress()) == "mine"
    assert uv.calls == []


def test_missing_release_is_installed_and_a_present_one_is_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed: list[str] = []

    def install(version: str, folder: Path, progress: RecordedProgress) -> None:
        installed.append(version)
        add(version, cuda_python(tmp_path / version), folder, progress)

    monkeypatch.setattr(candidate_server, "install", install)
    for _ in range(2):
        assert ensure_server("0.31.0", cache, RecordedProgress()) == "0.31.0"
    assert installed == ["0.31.0"]


def test_build_is_made_anew_each_time_because_a_branch_moves(
    cache: Path, uv: FakeUv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVCHAOS_TARGET_DEVICE", "cpu")
    for _ in range(2):
        name = ensure_server(GIT, cache, RecordedProgress())
        assert name == build_name(GIT)
        assert find_server(name, cache).python.is_file()
    assert [call[-1] for call in uv.calls if call[0] == "pip"] == [f"vllm @ {GIT}"] * 2


def test_failed_build_names_its_log(cache: Path, uv: FakeUv) -> None:
    uv.behave(code=1)
    with pytest.raises(UsageError, match=r"build\.log"):
        ensure_server(GIT, cache, RecordedProgress())


FILES_OF_WHEEL = {
    "torch.py": "__version__ = '2.13.0+cpu'\n",
    "vllm/__init__.py": "__version__ = '0.33.0.dev7'\n",
    "vllm/platforms.py": "class current_platform:\n    is_cpu = staticmethod(lambda: False)\n",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/openai/__init__.py": "",
    "vllm/entrypoints/openai/api_server.py": "",
    "vllm-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 1\n",
    "vllm-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


def test_wheel_is_installed_by_the_real_installer_and_registered(tmp_path: Path, cache: Path) -> None:
    """A wheel without dependencies that answers as vLLM does."""
    path = tmp_path / "dist" / "vllm-1-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES_OF_WHEEL.items():
            archive.writestr(name, text)
        archive.writestr("vllm-1.dist-info/RECORD", "".join(f"{name},,\n" for name in FILES_OF_WHEEL))
    name = ensure_server(str(path.parent), cache, RecordedProgress())
    server = find_server(name, cache)
    assert (server.kind, server.platform, server.vllm) == ("added", "cuda", "0.33.0.dev7")
