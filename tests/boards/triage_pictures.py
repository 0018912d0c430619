"""The pictures of the walk through a red night: where each link leads, from the nights to the evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, FloatRect, ViewportSize

from history import layout
from tests.boards.board_page import board_page
from tests.boards.board_request import WIDTH, BoardRequest, request_board
from tests.boards.followed_links import opened_board
from tests.boards.panel_bundles import NEWEST
from tests.boards.red_nights import RedNight, opened_night, recorded_night
from tests.boards.triage_exercise import FoundCause, follow_links
from tests.prometheus.grafana_queries import CAMPAIGN_BOARD, DASHBOARDS, NIGHT_BOARD, RUN_BOARD, read
from tests.support.source_tree import ROOT

DOCS = ROOT / "docs"
Titles = Mapping[str, Collection[str]]
SHOWN: Mapping[Path, Titles] = {
    NIGHT_BOARD: {
        "Search for failures": (
            "Runs",
            "Positive control",
            "Unexplained signatures",
            "Unexplained signatures by night",
        )
    },
    CAMPAIGN_BOARD: {
        "Campaign $campaign: signature $signature": ("Runs that show $signature",),
        "Last night": ("Runs by signature", "Runs without a result, by cause"),
    },
    RUN_BOARD: {
        "Now": ("Scenario", "Phase", "Server", "Requests", "Fault firings", "Command of the run"),
        "What is wrong": ("Conditions of the alerts",),
        "Load, measured by the clients": ("Requests ended", "Requests in flight", "Tokens/s"),
    },
}
"""Titles of the panels by row that the picture of each board shows."""
REPORT_WIDTH = 1000


def draw_triage_pictures(browser: Browser, promtool: Path) -> Iterator[Path]:
    """The boards of the recorded night along the links, then the evidence in the report."""
    with tempfile.TemporaryDirectory() as scratch:
        night = recorded_night(Path(scratch))
        with opened_night(night, promtool, Path(scratch)) as opened:
            boards = [read(path) for path in DASHBOARDS]
            direct, by_run = follow_links(opened, boards)
            to_campaign, to_run, _ = by_run.steps
            requests = [
                request_board(read(NIGHT_BOARD), opened.prometheus, opened.shown, {}),
                opened_board(to_campaign.url, boards, opened.prometheus),
                opened_board(to_run.url, boards, opened.prometheus),
            ]
        yield from _boards(browser, requests)
        yield _evidence(browser, night, direct)


def part_of(request: BoardRequest, titles: Titles) -> BoardRequest:
    """The board with some of its rows and panels, which move up."""
    kept = list(_chosen(request.board, titles))
    tops: dict[int, int] = {}
    bottom = 0
    for y in sorted({panel["gridPos"]["y"] for panel in kept}):
        tops[y] = bottom
        bottom += max(panel["gridPos"]["h"] for panel in kept if panel["gridPos"]["y"] == y)
    moved = {_key(panel): _moved(panel, tops) for panel in kept}
    return replace(
        request,
        board={**request.board, "panels": list(moved.values())},
        answered=[
            (moved[_key(panel)], targets) for panel, targets in request.answered if _key(panel) in moved
        ],
    )


def _chosen(board: Mapping[str, Any], titles: Titles) -> Iterator[Mapping[str, Any]]:
    row = ""
    for panel in board["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        if row in titles and (panel["type"] == "row" or panel["title"] in titles[row]):
            yield panel


def _key(panel: Mapping[str, Any]) -> tuple[str, str]:
    """A row and a panel may have the same title."""
    return panel["type"], panel["title"]


def _moved(panel: Mapping[str, Any], tops: Mapping[int, int]) -> Mapping[str, Any]:
    grid = panel["gridPos"]
    return {**panel, "gridPos": {**grid, "y": tops[grid["y"]]}}


def _boards(browser: Browser, requests: Sequence[BoardRequest]) -> Iterator[Path]:
    with board_page(browser, NEWEST, WIDTH) as page:
        for request, (board, titles) in zip(requests, SHOWN.items(), strict=True):
            page.draw(part_of(request, titles))
            path = DOCS / f"triage-{board.stem}-dark.png"
            page.picture(path)
            yield path


def _evidence(browser: Browser, night: RedNight, cause: FoundCause) -> Path:
    """The findings in the report, from the oracle of the link to the exception in the log."""
    path = DOCS / "triage-evidence-dark.png"
    viewport: ViewportSize = {"width": REPORT_WIDTH, "height": REPORT_WIDTH}
    with closing(browser.new_context(viewport=viewport, color_scheme="dark", timezone_id="UTC")) as context:
        page = context.new_page()
        page.goto((night.red / layout.REPORT).as_uri())
        first, last = page.locator(f"#{urlsplit(cause.evidence).fragment}"), page.locator("#finding-3")
        begin, end = first.bounding_box(), last.bounding_box()
        assert begin is not None
        assert end is not None
        height = end["y"] + end["height"] - begin["y"]
        clip: FloatRect = {"x": 0, "y": begin["y"], "width": REPORT_WIDTH, "height": height}
        page.screenshot(path=path, clip=clip, full_page=True)
    return path
