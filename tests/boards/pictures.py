"""`python -m tests.boards.pictures` draws the dashboards for docs/, that of a run also in light colours."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from kvchaos.prometheus.program import need_prometheus
from kvchaos.tools.tool import BROWSER_ARGUMENTS, need_browser
from tests.boards.board_data import BOARDS
from tests.boards.board_page import Scheme, board_page
from tests.boards.board_request import WIDTH, request_board
from tests.boards.panel_bundles import NEWEST
from tests.boards.triage_pictures import DOCS, draw_triage_pictures
from tests.prometheus.grafana_queries import FOLDER, read

ALSO_LIGHT = {"run"}


def picture_path(board: str, scheme: Scheme) -> Path:
    """Where a picture is."""
    return DOCS / f"dashboard-{board}-{scheme}.png"


def draw_pictures(browser: Browser, promtool: Path) -> Iterator[Path]:
    """Each board from the first of its data."""
    with board_page(browser, NEWEST, WIDTH) as page:
        for board, (data, *_) in BOARDS.items():
            with tempfile.TemporaryDirectory() as scratch, data.source(promtool, Path(scratch)) as opened:
                content = read(FOLDER / f"{board}.json")
                request = request_board(content, opened.prometheus, opened.shown, data.variables)
                schemes: list[Scheme] = ["dark", "light"] if board in ALSO_LIGHT else ["dark"]
                for scheme in schemes:
                    page.draw(request, scheme)
                    page.picture(picture_path(board, scheme))
                    yield picture_path(board, scheme)


def main() -> None:
    """Draw all, and print their paths."""
    promtool = need_prometheus(os.environ).with_name("promtool")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=need_browser(os.environ), headless=True, args=list(BROWSER_ARGUMENTS)
        )
        for path in (*draw_triage_pictures(browser, promtool), *draw_pictures(browser, promtool)):
            sys.stdout.write(f"{path}\n")
        browser.close()


if __name__ == "__main__":
    main()
