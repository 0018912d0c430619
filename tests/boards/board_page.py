"""A board in a browser: drawn by Grafana's code from the answers of a Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, Route

from tests.boards.board_request import BoardRequest
from tests.boards.drawn_panel import DrawnPanel, drawn_panels
from tests.boards.panel_bundles import panel_bundle

Scheme = Literal["dark", "light"]
HEIGHT = 900


class BoardPage:
    """Draws one board after another."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def draw(self, request: BoardRequest, scheme: Scheme = "dark") -> list[DrawnPanel]:
        """The reports of all panels that show data, in the order of the board."""
        given = {**request.as_json(), "theme": scheme}
        return drawn_panels(self._page.evaluate("given => window.drawBoard(given)", given))

    def picture(self, path: Path) -> None:
        """Write what was drawn last as PNG."""
        self._page.locator("#board").screenshot(path=path)


@contextmanager
def board_page(browser: Browser, version: str, width: int) -> Iterator[BoardPage]:
    """A page with the panels of one version of Grafana. It reaches no network."""
    bundle = panel_bundle(version)
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, timezone_id="UTC")
    page = context.new_page()
    drawing = BoardPage(page)

    def only_the_bundle(route: Route) -> None:
        if route.request.url.startswith(bundle.parent.as_uri()):
            route.continue_()
        else:
            drawing.complaints.append(route.request.url)
            route.abort()

    page.route("**/*", only_the_bundle)
    page.goto(bundle.as_uri())
    try:
        yield drawing
    finally:
        context.close()
