"""Errors in the page of a dashboard are found. The page is small and fixed, and none of Grafana's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.grafana import grafana_page
from tests.grafana.grafana_answers import FoundBoard
from tests.grafana.grafana_page import opened_board
from tests.grafana.grafana_visit import (
    BoardProblem,
    OpenedBoard,
    link_problems,
    panel_problems,
    variable_problems,
)
from tests.prometheus.grafana_queries import TimeRange
from tests.support.fixed_grafana import BROKEN_PAGE, FixedAnswers, fixed_grafana

pytestmark = pytest.mark.chromium

BOARD: dict[str, Any] = {
    "uid": "kvchaos-run",
    "panels": [
        {"type": "stat", "title": title, "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}}
        for title in ("Requests", "Latency")
    ],
    "templating": {"list": [{"name": "datasource"}, {"name": "run"}]},
    "links": [{"type": "dashboards", "tags": ["kvchaos"]}],
}
FOUND = [FoundBoard(uid, uid, ["kvchaos"]) for uid in ("kvchaos-run", "kvchaos-nights")]


@pytest.fixture(autouse=True)
def frequent_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana_page, "POLL_MS", 50)


def opened(browser: Browser, folder: Path, answers: FixedAnswers) -> OpenedBoard:
    with fixed_grafana(answers) as base:
        return opened_board(browser, base, BOARD, TimeRange(0, 60), {}, folder / "board.png")


def test_page_that_works_has_no_problem_and_a_picture(browser: Browser, tmp_path: Path) -> None:
    found = opened(browser, tmp_path, FixedAnswers())
    assert panel_problems(found) == variable_problems(found) == link_problems(found, FOUND) == []
    assert found.drawn.panels == ["Requests", "Latency"]
    assert len(found.answers) == 2
    assert (tmp_path / "board.png").stat().st_size > 0


def test_error_marks_of_panels_and_page_are_found(browser: Browser, tmp_path: Path) -> None:
    found = opened(browser, tmp_path, FixedAnswers(page=BROKEN_PAGE))
    assert [problem.kind for problem in panel_problems(found)] == ["status", "page"]
    assert panel_problems(found)[0] == BoardProblem("status", "Requests")


def test_refused_query_of_a_page_is_found(browser: Browser, tmp_path: Path) -> None:
    refused = {"results": {"A": {"error": "parse error", "status": 400}}}
    found = opened(browser, tmp_path, FixedAnswers(query=refused, query_status=400))
    assert [problem.kind for problem in panel_problems(found)] == ["query"]


def test_panel_that_never_appears_is_found(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafana_page, "DRAWN_S", 0.5)
    empty = "<!doctype html><script>fetch('/api/ds/query', {method: 'POST', body: '{}'})</script>"
    found = opened(browser, tmp_path, FixedAnswers(page=empty))
    assert panel_problems(found) == [BoardProblem("panel", title) for title in ("Requests", "Latency")]
