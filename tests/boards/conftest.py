"""A browser, pages with Grafana's panels, and each board with the answers to its queries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.boards.board_data import BoardData, OpenedData, Source, data_of
from tests.boards.board_page import BoardPage, board_page
from tests.boards.board_request import WIDTH, BoardRequest, request_board
from tests.boards.panel_bundles import chosen_versions
from tests.browser.conftest import browser
from tests.prometheus.conftest import promtool
from tests.prometheus.grafana_queries import FOLDER, read

__all__ = ["browser", "promtool"]

Requester = Callable[[str, str], BoardRequest]
Opener = Callable[[BoardData], OpenedData]


@pytest.fixture(scope="session")
def opened(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Opens each database once."""
    found: dict[Source, OpenedData] = {}
    with ExitStack() as stack:

        def open_once(data: BoardData) -> OpenedData:
            if data.source not in found:
                folder = tmp_path_factory.mktemp(data.name)
                found[data.source] = stack.enter_context(data.source(promtool, folder))
            return found[data.source]

        yield open_once


@pytest.fixture(scope="session")
def requested(opened: Opener) -> Requester:
    """A board, by the name of its JSON, with the answers of one of its databases."""
    found: dict[tuple[str, str], BoardRequest] = {}

    def request(board: str, name: str) -> BoardRequest:
        if (board, name) not in found:
            (data,) = (each for each in data_of(board) if each.name == name)
            found[board, name] = answered(read(FOLDER / f"{board}.json"), data, opened(data))
        return found[board, name]

    return request


@pytest.fixture(scope="session", params=chosen_versions(os.environ))
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[BoardPage]:
    """Of each version of Grafana's packages."""
    with board_page(browser, request.param, WIDTH) as drawing:
        yield drawing


def answered(board: dict[str, Any], data: BoardData, opened: OpenedData) -> BoardRequest:
    return request_board(board, opened.prometheus, opened.shown, data.variables)
