"""Grafana of each version, each dashboard opened once.

Without an engine or an image, one line ends the run of the tests with a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser

from kvchaos.errors import UsageError
from tests.boards.board_request import request_board
from tests.boards.followed_links import linked_rows
from tests.boards.panel_bundles import chosen_versions
from tests.browser.conftest import browser
from tests.grafana.grafana_answers import FoundBoard
from tests.grafana.grafana_container import found_boards, running_grafana
from tests.grafana.grafana_data import GrafanaData, board_data, data_of_all_boards
from tests.grafana.grafana_images import connected, ensure_grafana_images
from tests.grafana.grafana_page import opened_board
from tests.grafana.grafana_visit import OpenedBoard
from tests.prometheus.conftest import promtool
from tests.prometheus.grafana_queries import DASHBOARDS, FOLDER, read
from tests.support.source_tree import ROOT

__all__ = ["browser", "promtool"]

PICTURES = ROOT / "build" / "grafana"


@dataclass(frozen=True)
class Grafana:
    """A Grafana that runs, and its dashboards."""

    version: str
    url: str
    browser: Browser
    data: GrafanaData
    found: list[FoundBoard]
    _opened: dict[str, OpenedBoard] = field(default_factory=dict)

    def board(self, name: str) -> OpenedBoard:
        """A dashboard by the name of its JSON, opened in the browser."""
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> OpenedBoard:
        board, shown, chosen = (
            read(FOLDER / f"{name}.json"),
            self.data.shown[name],
            board_data(name).variables,
        )
        picture = PICTURES / f"{self.version}-{name}.png"
        opened = opened_board(self.browser, self.url, board, shown, chosen, picture)
        rows = linked_rows(request_board(board, self.data.prometheus, shown, chosen))
        return replace(opened, data_links=[url for row in rows for url in row.links.values()])


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker engine that has the images of all versions."""
    try:
        client = connected()
        ensure_grafana_images(client, chosen_versions(os.environ))
    except UsageError as error:
        pytest.exit(f"failed: {error}", returncode=pytest.ExitCode.TESTS_FAILED)
    yield client
    client.close()


@pytest.fixture(scope="session")
def data(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrafanaData]:
    with data_of_all_boards(promtool, tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture(scope="session", params=chosen_versions(os.environ))
def grafana(
    request: pytest.FixtureRequest, engine: docker.DockerClient, data: GrafanaData, browser: Browser
) -> Iterator[Grafana]:
    version: str = request.param
    folder = PICTURES / version
    uids = [read(path)["uid"] for path in DASHBOARDS]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with running_grafana(engine, version, data.port, folder) as url:
            yield Grafana(version, url, browser, data, found_boards(url, uids))
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
