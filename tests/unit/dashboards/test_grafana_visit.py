"""Problems of an opened dashboard are found. The inputs are small and fixed; none came from a Grafana."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from tests.grafana.grafana_answers import DataAnswer, FoundBoard
from tests.grafana.grafana_visit import (
    OUTSIDE,
    BoardProblem,
    DrawnPage,
    OpenedBoard,
    link_problems,
    panel_problems,
    variable_problems,
)
from tests.prometheus.grafana_queries import DASHBOARDS, TimeRange, read

BOARD: dict[str, Any] = {
    "uid": "kvchaos-run",
    "panels": [
        {"type": "row", "title": "Load"},
        {"type": "stat", "title": "Requests"},
        {"type": "table", "title": "Runs that show $signature"},
    ],
    "templating": {"list": [{"name": "datasource"}, {"name": "signature"}]},
    "links": [
        {"type": "dashboards", "tags": ["kvchaos"]},
        {"type": "link", "url": "/d/vllm-kv-cache"},
    ],
}
URL = "http://127.0.0.1:3000/d/kvchaos-run?var-datasource=prometheus&var-signature=a%2Fb"
QUERY = "http://127.0.0.1:3000/api/ds/query"
GOOD = DataAnswer(QUERY, 200, b'{"results": {"A": {"frames": []}}}')
DRAWN = DrawnPage(
    panels=["Requests", "Runs that show a/b"],
    errors=[],
    alerts=[],
    loading=0,
    links=["/d/kvchaos-nights/nights?from=1", "/dashboards"],
)
OPENED = OpenedBoard(
    BOARD,
    URL,
    TimeRange(0, 60),
    DRAWN,
    [GOOD],
    ['{"queries": [{"expr": "up[$__rate_interval]"}]}'],
    ["/d/kvchaos-nights?from=1", "http://127.0.0.1:8000/report.html"],
)
FOUND = [FoundBoard(uid, uid, ["kvchaos"]) for uid in ("kvchaos-run", "kvchaos-nights")]


def drawn(**changes: Any) -> OpenedBoard:
    return replace(OPENED, drawn=structs.replace(DRAWN, **changes))


def test_board_that_works_has_no_problem() -> None:
    assert panel_problems(OPENED) == variable_problems(OPENED) == link_problems(OPENED, FOUND) == []


@pytest.mark.parametrize(
    ("opened", "problem"),
    [
        (drawn(panels=["Requests"]), BoardProblem("panel", "Runs that show a/b")),
        (drawn(errors=["Requests"]), BoardProblem("status", "Requests")),
        (drawn(alerts=["error-1"]), BoardProblem("page", "error-1")),
        (drawn(loading=2), BoardProblem("page", "loading")),
        (replace(OPENED, answers=[]), BoardProblem("query", "none")),
    ],
)
def test_panel_with_a_problem_is_found(opened: OpenedBoard, problem: BoardProblem) -> None:
    assert panel_problems(opened) == [problem]


def test_failed_query_is_found_once() -> None:
    bad = DataAnswer(QUERY, 400, b'{"results": {"B": {"error": "parse error", "status": 400}}}')
    (problem,) = panel_problems(replace(OPENED, answers=[GOOD, bad, bad]))
    assert problem.kind == "query"


def test_variable_without_a_value_is_found() -> None:
    opened = replace(OPENED, url=URL.replace("var-signature=a%2Fb", "var-signature="))
    assert variable_problems(opened) == [BoardProblem("variable", "signature")]


def test_variable_that_a_query_contains_by_name_is_found() -> None:
    opened = replace(OPENED, sent=['{"expr": "up{signature=\\"$signature\\"}"}'])
    assert variable_problems(opened) == [BoardProblem("variable", "signature")]


@pytest.mark.parametrize("where", ["drawn", "data"])
def test_link_to_a_board_that_does_not_exist_is_found(where: str) -> None:
    lost = "/d/kvchaos-lost?from=1"
    opened = drawn(links=[*DRAWN.links, lost]) if where == "drawn" else replace(OPENED, data_links=[lost])
    assert link_problems(opened, FOUND) == [BoardProblem("link", "kvchaos-lost")]


def test_fixed_link_to_a_board_that_does_not_exist_is_found() -> None:
    board = {**BOARD, "links": [{"type": "link", "url": "/d/kvchaos-lost"}]}
    assert link_problems(replace(OPENED, board=board), FOUND) == [BoardProblem("link", "kvchaos-lost")]


def test_board_of_the_tag_without_its_link_is_found() -> None:
    assert link_problems(drawn(links=[]), FOUND) == [BoardProblem("link", "kvchaos-nights")]


def test_boards_of_others_are_linked_and_not_ours() -> None:
    boards = [read(path) for path in DASHBOARDS]
    urls = (link["url"] for board in boards for link in board["links"] if link["type"] == "link")
    fixed = {url.removeprefix("/d/") for url in urls}
    assert set(OUTSIDE) == fixed - {board["uid"] for board in boards}
