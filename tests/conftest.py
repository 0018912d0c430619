"""Shared by all tests: nothing of the machine's own cache or runs is read or changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.programs import Programs

# A busy machine is no fault of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Programs(), "programs")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, also for commands run by the test."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("KVCHAOS_CACHE", str(folder))
    return folder
