"""Locust's page by hand: TTFT, ITL and tokens as rows and as charts, and nothing in it that complains."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.fakes.openai_server import Behaviour, FakeServer
from tests.support.locust_page import locust_page, start

pytestmark = pytest.mark.chromium

ROWS = ("E2EL (ms)", "TPOT (ms)", "TTFT (ms)", "tokens (count)")
CHARTS = ("ttft", "itl", "tokens", "lag")
PATIENCE_MS = 60_000


def test_ttft_itl_and_tokens_are_rows_and_charts(browser: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    steady = Behaviour(token_s=0.01)
    with FakeServer(steady) as server, locust_page(tmp_path, server.url) as web:
        listens = listeners()
        start(web, server.url)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{web.base_url}?tab=charts")
        for chart in CHARTS:
            figure = page.locator(f"#kvchaos-{chart}")
            # A line has two points at least.
            expect(figure.locator("path[d*=L]").first).to_be_attached(timeout=PATIENCE_MS)
        page.get_by_role("tab", name="Statistics").click()
        for row in ROWS:
            expect(page.get_by_role("cell", name=row, exact=True)).to_be_visible()
        expect(page.locator("#kvchaos-charts")).to_be_hidden()
        counts = {row["name"]: row["num_requests"] for row in web.get("/stats/requests").json()["stats"]}
        page.close()
    assert complaints == []
    assert listens == {"127.0.0.1"}
    # What Locust adds up are requests, not the rows of a request.
    assert counts["Aggregated"] == counts["E2EL (ms)"] > 0


def listeners() -> set[str]:
    """Addresses that Locust's processes listen on."""
    addresses: set[str] = set()
    for child in psutil.Process().children(recursive=True):
        # Any other child may end between the list of processes and this request.
        with suppress(psutil.NoSuchProcess):
            if "locust" in " ".join(child.cmdline()):
                connections = child.net_connections()
                addresses |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    return addresses
