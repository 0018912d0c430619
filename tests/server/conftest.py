"""Shared by the tests with real servers. The campaigns are conducted once, at first need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvchaos.cli.chosen_server import DEFAULT_SERVER
from tests.server.bench import CHOSEN, NEW, OLD, RELEASES, Bench, Finished, campaign_order, own_cache

Campaigns = Callable[[str], Finished]
Part = tuple[str, Sequence[str]]
"""A release, and scenarios to be run on it."""


FIRST = [
    Path(__file__).with_name(f"test_{name}.py") for name in ("selftest", "prometheus", "reuse", "expectation")
]
"""The longest files, so that processes that share the files end together."""
LAST = 3
"""Scenarios on the new release that follow those on the old one: each needs a server of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; mark the tests of other releases than the default one, which `make test` does not
    install."""
    items.sort(key=lambda item: FIRST.index(item.path) if item.path in FIRST else len(FIRST))
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if parameters.get("release", DEFAULT_SERVER) != DEFAULT_SERVER:
            item.add_marker(pytest.mark.older_release)


def lanes() -> tuple[list[Part], list[Part]]:
    """All scenarios on the new release and the chosen ones on the old one, in two rows of equal length.

    On the old release each run starts a server.
    """
    scenarios = campaign_order()
    return [(NEW, scenarios[:-LAST])], [(OLD, CHOSEN), (NEW, scenarios[-LAST:])]


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
    return Bench(tmp_path, server_cache)


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory, server_cache: Path) -> Campaigns:
    """The scenarios of a release. Two rows run side by side, at first need: a server that starts has work for
    one processor, and most of a campaign is servers that start."""

    def run(row: Sequence[Part]) -> list[tuple[str, Finished]]:
        bench = Bench(tmp_path_factory.mktemp("campaign"), server_cache)
        return [(release, bench.run_several(scenarios, release)) for release, scenarios in row]

    @functools.cache
    def conduct() -> dict[str, Finished]:
        with ThreadPoolExecutor() as pool:
            ended = [part for row in pool.map(run, lanes()) for part in row]
        return {name: joined([part for release, part in ended if release == name]) for name in RELEASES}

    return lambda release: conduct()[release]
