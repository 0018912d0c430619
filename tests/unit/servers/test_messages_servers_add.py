"""What is said of a server that cannot be added."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.servers.install_server import add, install
from kvchaos.servers.server_registry import find_server, list_servers
from tests.support.fake_programs import (
    FakeUv,
    RecordedProgress,
    broken_python,
    cuda_python,
    server_python,
    write_program,
)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return cuda_python(tmp_path / "theirs")


def test_an_environment_without_vllm_is_refused(cache: Path, python: Path) -> None:
    write_program(python, broken_python("ModuleNotFoundError: No module named vllm"))
    with pytest.raises(UsageError, match="No module named vllm"):
        add("gpu", python, cache, RecordedProgress())
    assert list_servers(cache) == []


def test_a_missing_interpreter_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing-here: no such file"):
        add("gpu", tmp_path / "nothing-here", cache, RecordedProgress())


def test_a_name_in_use_is_not_taken_over(cache: Path, python: Path) -> None:
    first = add("gpu", python, cache, RecordedProgress())
    write_program(python, server_python(vllm="0.34.0"))
    with pytest.raises(UsageError, match="kvchaos server remove gpu"):
        add("gpu", python, cache, RecordedProgress())
    assert find_server("gpu", cache) == first


def test_install_does_not_replace_an_added_server_of_that_name(
    cache: Path, python: Path, tmp_path: Path
) -> None:
    server = add("0.32.0", python, cache, RecordedProgress())
    with pytest.raises(UsageError, match="is an added server"):
        install("0.32.0", cache, RecordedProgress(), FakeUv(tmp_path).path)
    assert find_server("0.32.0", cache) == server
