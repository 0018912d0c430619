"""Opens dashboards of a Grafana in a browser that reaches nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from playwright.sync_api import Browser, Page, Request, Response, Route

from tests.grafana.grafana_answers import DataAnswer, is_data_request
from tests.grafana.grafana_visit import DrawnPage, OpenedBoard
from tests.prometheus.grafana_queries import TimeRange, panels

WIDTH = 1600
ROW_PX, HEAD_PX = 40, 600
"""Grafana draws the panels that are in view: the window is as high as the dashboard."""
DRAWN_S = 90.0
POLL_MS = 250
QUIET_POLLS = 4
"""After so many polls without a change the page is drawn."""
PANEL = "data-testid Panel header "
PANEL_ITEM = "data-testid Panel header item"
ERROR_MARK = "data-testid Panel status error"
ALERT = "data-testid Alert error"
LOADING = "Panel loading bar"
"""Test ids of Grafana's components, the same in `@grafana/e2e-selectors` 11.6.16, 12.4.10 and 13.2.3.

A notice has the mark of another severity in 13.2.3: an answer of Prometheus with a remark is no error.
"""
READ_PAGE = """ids => {
  const panels = [...document.querySelectorAll(`[data-testid^="${ids.panel}"]`)]
    .filter(each => !each.dataset.testid.startsWith(ids.item));
  const title = each => each ? each.dataset.testid.slice(ids.panel.length) : "";
  const panelOf = each => panels.find(panel => panel.contains(each));
  const all = query => [...document.querySelectorAll(query)];
  return {
    panels: panels.map(title),
    errors: all(`[data-testid="${ids.error}"]`).map(each => title(panelOf(each))),
    alerts: all(`[data-testid="${ids.alert}"]`).map(each => each.textContent.trim()),
    loading: all(`[aria-label="${ids.loading}"], [data-testid="${ids.loading}"]`).length,
    links: all("a[href]").map(each => each.getAttribute("href")),
  };
}"""
IDS = {"panel": PANEL, "item": PANEL_ITEM, "error": ERROR_MARK, "alert": ALERT, "loading": LOADING}


def drawn_page(page: Page) -> DrawnPage:
    """The panels, errors and links that the document has now."""
    return msgspec.convert(page.evaluate(READ_PAGE, IDS), DrawnPage)


def board_url(base: str, uid: str, shown: TimeRange, variables: Mapping[str, str]) -> str:
    """URL of a dashboard at a time; Grafana chooses the other variables."""
    query = {f"var-{name}": value for name, value in variables.items()}
    times = {"from": round(shown.begin_s * 1000), "to": round(shown.end_s * 1000), "timezone": "utc"}
    return f"{base}/d/{uid}?{urlencode({**times, **query})}"


@contextmanager
def grafana_page(browser: Browser, base: str, rows: int) -> Iterator[Page]:
    """A page that is high enough for a dashboard with so many rows of its grid."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEAD_PX + ROW_PX * rows}, timezone_id="UTC"
    )

    def only_grafana(route: Route) -> None:
        if route.request.url.startswith(base):
            route.continue_()
        else:
            route.abort()

    page = context.new_page()
    page.route("**/*", only_grafana)
    try:
        yield page
    finally:
        context.close()


def opened_board(
    browser: Browser,
    base: str,
    board: Mapping[str, Any],
    shown: TimeRange,
    variables: Mapping[str, str],
    picture: Path,
) -> OpenedBoard:
    """Open a dashboard, wait until it is drawn or the time is over, and write a picture of it."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    with grafana_page(browser, base, rows) as page:
        traffic = DataTraffic(page)
        page.goto(board_url(base, board["uid"], shown, variables))
        drawn = _drawn(page, traffic, len(list(panels(board))))
        picture.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture, full_page=True)
        return OpenedBoard(board, page.url, shown, drawn, traffic.answers(), traffic.sent())


class DataTraffic:
    """The requests for data that a page sends, and their answers."""

    def __init__(self, page: Page) -> None:
        self._requests: list[Request] = []
        self._finished: list[Request] = []
        page.on("request", self._sent)
        page.on("requestfinished", self._done)
        page.on("requestfailed", self._failed)

    @property
    def pending(self) -> int:
        """Requests without an answer. Those that the page cancelled are not counted."""
        return len(self._requests) - len(self._finished)

    def sent(self) -> list[str]:
        """Bodies of all requests, and URLs of those without a body."""
        return [request.post_data or request.url for request in self._requests]

    def answers(self) -> list[DataAnswer]:
        """All answers that arrived whole."""
        responses = (request.response() for request in self._finished)
        return [_answer(response) for response in responses if response is not None]

    def _sent(self, request: Request) -> None:
        if is_data_request(request.url):
            self._requests.append(request)

    def _done(self, request: Request) -> None:
        if request in self._requests:
            self._finished.append(request)

    def _failed(self, request: Request) -> None:
        if request in self._requests:
            self._requests.remove(request)


def _answer(response: Response) -> DataAnswer:
    return DataAnswer(response.url, response.status, response.body())


def _drawn(page: Page, traffic: DataTraffic, wanted: int) -> DrawnPage:
    """Until all panels are there and none waits for data; after the time limit whatever there is."""
    deadline = time.monotonic() + DRAWN_S
    quiet = 0
    while True:
        drawn = drawn_page(page)
        complete = len(drawn.panels) >= wanted and not drawn.loading and not traffic.pending
        quiet = quiet + 1 if complete else 0
        if quiet >= QUIET_POLLS or time.monotonic() > deadline:
            return drawn
        page.wait_for_timeout(POLL_MS)
