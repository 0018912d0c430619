"""Adding an environment of one's own: it is checked before it is noted, and never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.servers.install_server import add, remove
from kvchaos.servers.server_registry import find_server, list_servers
from tests.support.fake_programs import RecordedProgress, cuda_python, server_python, write_program


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return cuda_python(tmp_path / "theirs")


def test_versions_are_read_from_the_server_environment(cache: Path, python: Path) -> None:
    server = add("gpu", python, cache, RecordedProgress())
    assert (server.kind, server.vllm, server.torch) == ("added", "0.33.0", "2.14.0+cu130")
    assert find_server("gpu", cache) == server


def test_interpreter_path_is_stored_unresolved(cache: Path, python: Path) -> None:
    """A virtual environment is its link: the file behind it is the bare Python."""
    link = python.with_name("python3")
    link.symlink_to(python)
    assert add("gpu", link, cache, RecordedProgress()).python == link


def test_a_cuda_build_preloads_nothing(cache: Path, python: Path) -> None:
    library = python.parent.parent / "lib/libiomp5.so"
    library.parent.mkdir()
    library.touch()
    assert add("gpu", python, cache, RecordedProgress()).preload == ()


def test_cpu_build_preloads_libiomp5_of_its_environment(cache: Path, python: Path) -> None:
    prefix = python.parent.parent
    (prefix / "lib").mkdir()
    (prefix / "lib/libiomp5.so").touch()
    write_program(python, server_python(prefix=str(prefix)))
    assert str(prefix / "lib/libiomp5.so") in add("cpu", python, cache, RecordedProgress()).preload


def test_a_program_that_is_no_such_interpreter_is_refused(cache: Path, python: Path) -> None:
    write_program(python, "#!/bin/sh\necho hello\n")
    with pytest.raises(UsageError, match="hello"):
        add("gpu", python, cache, RecordedProgress())


def test_removing_an_added_server_keeps_its_environment(cache: Path, python: Path) -> None:
    add("gpu", python, cache, RecordedProgress())
    remove("gpu", cache, RecordedProgress())
    assert python.is_file()
    assert list_servers(cache) == []
