"""Shared by the tests with real servers. The campaigns are conducted once, at first need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.bench import RELEASES, Bench, Finished, own_cache

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
    """All scenarios on a release, by one command. Those of all releases run side by side, at first need: a
    server that starts has work for one processor, and most of a campaign is servers that start."""

    @functools.cache
    def conduct() -> dict[str, Finished]:
        benches = {release: Bench(tmp_path_factory.mktemp("campaign"), server_cache) for release in RELEASES}
        with ThreadPoolExecutor(len(RELEASES)) as pool:
            ended = pool.map(lambda release: benches[release].run_all(release), RELEASES)
            return dict(zip(RELEASES, ended, strict=True))

    return lambda release: conduct()[release]
