"""Shared by the tests with real servers. The campaigns are conducted once, at first need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.bench import Bench, Finished, own_cache

Campaigns = Callable[[str], Finished]


@pytest.fixture(scope="session")
def server_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's servers, with records of its own."""
    return own_cache(tmp_path_factory.mktemp("servers"))


@pytest.fixture
def bench(tmp_path: Path, server_cache: Path) -> Bench:
    return Bench(tmp_path, server_cache)


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory, server_cache: Path) -> Campaigns:
    """All scenarios on a release, by one command."""

    @functools.cache
    def conduct(release: str) -> Finished:
        folder = tmp_path_factory.mktemp("campaign")
        return Bench(folder, server_cache).run_all(release)

    return conduct
