"""Interpreters: the wrong Python has no wheels, and a leaked setting brings the suite into the server."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from kvchaos.servers.installation import CommandFailed, Runner
from kvchaos.servers.interpreters import base_interpreter, find_base, read_server_facts, server_environment
from tests.support.fake_programs import RecordedProgress, server_python, write_program


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(RecordedProgress(), tmp_path, tmp_path / "log")


def test_the_running_interpreter_is_taken_when_it_fits(tmp_path: Path) -> None:
    found = find_base(SpecifierSet(f"=={platform.python_version()}"), tmp_path / "no-uv")
    assert found.version == platform.python_version()


def test_virtual_environment_resolves_to_its_base_python() -> None:
    found = base_interpreter(Path(sys.executable))
    assert found is not None
    assert not (found.path.parent.parent / "pyvenv.cfg").exists()


def test_other_interpreter_is_used_when_the_running_one_is_unsupported(tmp_path: Path) -> None:
    other = write_program(
        tmp_path / "python2.0", f"#!/bin/sh\nprintf '2.0.1\\n{tmp_path / 'python2.0'}\\n'\n"
    )
    uv = write_program(tmp_path / "uv", f"#!/bin/sh\necho {other}\n")
    assert find_base(SpecifierSet("<3"), uv).path == other


def test_a_program_on_the_path_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    """Version managers leave such stubs for interpreters that are not switched on."""
    stub = write_program(tmp_path / "python3.12", "#!/bin/sh\necho not installed >&2\nexit 127\n")
    assert base_interpreter(stub) is None
    assert base_interpreter(tmp_path / "gone") is None


def test_server_interpreter_does_not_inherit_suite_variables() -> None:
    environ = {"PYTHONPATH": "/suite", "PYTHONHOME": "/x", "LD_PRELOAD": "/y.so", "PATH": "/usr/bin"}
    environment = server_environment(environ)
    assert environment["PATH"] == "/usr/bin"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert not {"PYTHONPATH", "PYTHONHOME", "LD_PRELOAD"} & environment.keys()


def test_libraries_are_preloaded_when_the_import_is_tried(tmp_path: Path, runner: Runner) -> None:
    output = tmp_path / "seen"
    answer = server_python().removeprefix("#!/bin/sh\n")
    python = write_program(tmp_path / "python", f'#!/bin/sh\necho "$LD_PRELOAD $4" > {output}\n{answer}')
    read_server_facts(python, "the.module", ("/no/a.so", "/no/b.so"), runner)
    assert output.read_text().startswith("/no/a.so:/no/b.so")


def test_an_unfit_answer_is_an_error_that_shows_it(tmp_path: Path, runner: Runner) -> None:
    python = write_program(tmp_path / "python", server_python(cpu="maybe"))
    with pytest.raises(CommandFailed, match="maybe"):
        read_server_facts(python, "the.module", (), runner)
