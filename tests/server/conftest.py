"""Shared by the tests with real servers. The campaigns are conducted once, at first need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvchaos.cli.requested_server import DEFAULT_SERVER
from tests.server.bench import CHOSEN, OLD, Bench, Finished, campaign_order, own_cache

Campaigns = Callable[[str], Finished]


FIRST = [
    Path(__file__).with_name(f"test_{name}.py") for name in ("selftest", "prometheus", "reuse", "expectation")
]
"""The longest files, so that processes that share the files end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; mark the tests of releases that `make test` does not install."""
    items.sort(key=lambda item: FIRST.index(item.path) if item.path in FIRST else len(FIRST))
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if parameters.get("release", DEFAULT_SERVER) != DEFAULT_SERVER:
            item.add_marker(pytest.mark.older_release)


def lanes(release: str) -> list[Sequence[str]]:
    """The scenarios of a release in rows that run side by side.

    A starting server keeps one processor busy, and on the old release each run starts one: two rows. On the
    new release most runs use the server of the run before, and load takes both processors: one row.
    """
    middle = (len(CHOSEN) + 1) // 2
    return [CHOSEN[:middle], CHOSEN[middle:]] if release == OLD else [campaign_order()]


def joined(ended: Sequence[Finished]) -> Finished:
    """Commands that were parts of one campaign, in its order."""
    out, err = ("".join(getattr(each, name) for each in ended) for name in ("out", "err"))
    return Finished(max(each.code for each in ended), out, err)


@pytest.fixture(scope="session")
def server_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's servers, with records of its own."""
    return own_cache(tmp_path_factory.mktemp("servers"))


@pytest.fixture
def bench(tmp_path: Path, server_cache: Path) -> Bench:
    """Runs commands of the suite in a temporary folder with the installed servers."""
    return Bench(tmp_path, server_cache)


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory, server_cache: Path) -> Campaigns:
    """The scenarios of a release, run at first need."""

    @functools.cache
    def conduct(release: str) -> Finished:
        def run(scenarios: Sequence[str]) -> Finished:
            return Bench(tmp_path_factory.mktemp("campaign"), server_cache).run_several(scenarios, release)

        with ThreadPoolExecutor() as pool:
            return joined(list(pool.map(run, lanes(release))))

    return conduct
