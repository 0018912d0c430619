"""The page of the nights in a browser: offline, light and dark, on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Route

from kvchaos.nightly.morning.morning_page import page_html
from kvchaos.nightly.morning.morning_report import MorningReport, morning_report
from kvchaos.nightly.night_report import night_report
from kvchaos.nightly.page_links import PageFolders
from tests.support.stability_nights import TONIGHT, write_stability
from tests.support.synthetic_nights import synthetic_year

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def night_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    write_stability(folder / "history", folder / "runs")
    stability = morning_report(folder / "history", folder / "runs").stability
    report = MorningReport(night_report(synthetic_year(60)), stability)
    path = folder / "nightly.html"
    path.write_text(page_html(report, PageFolders(folder, folder / "runs")))
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (380, "light")])
def test_night_page_fits_its_width_and_loads_nothing(
    browser: Browser, night_page: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def only_the_page(route: Route) -> None:
        if route.request.url == night_page.as_uri():
            route.continue_()
        else:
            complaints.append(route.request.url)
            route.abort()

    page.route("**/*", only_the_page)
    page.goto(night_page.as_uri())
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    assert complaints == []
    assert page.locator("article.card").count() == 40
    assert page.locator(".run-grid tbody tr").count() == len(TONIGHT)
    assert page.locator("article.card .paths path.candidate").first.bounding_box() is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 20, 25)" if scheme == "dark" else "rgb(255, 255, 255)")
    context.close()
