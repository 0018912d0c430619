"""What is said where no Python fits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from kvchaos.errors import UsageError
from kvchaos.servers.interpreters import find_base
from tests.support.fake_programs import write_program


def test_missing_interpreter_names_the_version_range(tmp_path: Path) -> None:
    uv = write_program(tmp_path / "uv", "#!/bin/sh\nexit 2\n")
    with pytest.raises(UsageError, match=r"no Python <3 on this machine \(running: 3"):
        find_base(SpecifierSet("<3"), uv)


@pytest.mark.parametrize(("wanted", "newest"), [(">=3.10,<3.14", "3.13"), (">=3.11,<3.15", "3.14")])
def test_a_release_that_refuses_the_interpreters_names_the_newest_one_that_it_accepts(
    tmp_path: Path, wanted: str, newest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    uv = write_program(tmp_path / "uv", "#!/bin/sh\nexit 2\n")
    with pytest.raises(UsageError) as refused:
        find_base(SpecifierSet(wanted), uv)
    (line,) = str(refused.value).splitlines()
    assert line.endswith(f"install Python {newest}, so that python{newest} is on PATH")
