"""The browser for the tests of the report must be found where people have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.paths import CACHE_VARIABLE
from kvchaos.tools.tool import BROWSER_NAMES, BROWSER_VARIABLE, find_browser


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", BROWSER_NAMES)
def test_browser_is_found_on_the_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environ = {CACHE_VARIABLE: str(tmp_path / "cache")}
    assert find_browser(environ) is None
    installed = program(tmp_path, name)
    assert find_browser(environ) == installed


def test_browser_named_by_the_variable_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "chromium")
    mine = program(tmp_path, "mine")
    assert find_browser({BROWSER_VARIABLE: str(mine)}) == mine


def test_missing_named_browser_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "chromium")
    assert find_browser({BROWSER_VARIABLE: str(tmp_path / "nothing")}) is None
