"""Every link of a row leads to a board that exists, with its variables and a time, or to a file of a run."""

from __future__ import annotations

import pytest

from kvchaos.stability.campaign_export import RUNS_URL
from tests.boards.board_data import BOARDS, NIGHTS
from tests.boards.conftest import Requester
from tests.boards.followed_links import is_board, link_target, linked_rows
from tests.prometheus.grafana_queries import DASHBOARDS, read
from tests.support.synthetic_nights import NEW

pytestmark = pytest.mark.prometheus

ALL = [read(path) for path in DASHBOARDS]
CASES = [
    pytest.param(board, each.name, id=f"{board}-{each.name}")
    for board, data in BOARDS.items()
    for each in data
]


@pytest.mark.parametrize(("board", "data"), CASES)
def test_every_link_leads_to_a_board_or_a_file(board: str, data: str, requested: Requester) -> None:
    request = requested(board, data)
    urls = [url for row in linked_rows(request) for url in row.links.values()]
    assert urls
    # Of the nights, the export has the whole URL of each report.
    runs_url = request.variables.get("runs_url", RUNS_URL)
    for url in urls:
        if is_board(url):
            target = link_target(url, ALL)
            assert target.variables
            assert all(target.variables.values())
        else:
            assert url.startswith(f"{runs_url}/")
            assert "$" not in url


def test_every_run_of_a_campaign_is_linked_to_its_board_with_its_time(requested: Requester) -> None:
    request = requested("campaign", "synthetic")
    rows = [row for row in linked_rows(request) if row.panel == "All runs"]
    targets = [link_target(row.links["Dashboard of the run"], ALL) for row in rows]
    assert [target.variables["run"] for target in targets] == [row.cells["run"] for row in rows]
    assert [target.shown.begin_s * 1000 for target in targets] == [float(row.cells["began"]) for row in rows]
    assert [target.shown.end_s * 1000 for target in targets] == [float(row.cells["ended"]) for row in rows]


def test_largest_slowdowns_are_linked_to_reports_of_the_last_night(requested: Requester) -> None:
    request = requested("nights", "synthetic")
    rows = [row for row in linked_rows(request) if row.panel == "Largest slowdowns"]
    reports = {row.cells["series"]: row.links["Report of the candidate"] for row in rows}
    scenario = NEW.partition("/")[0]
    run = f"{scenario}-night-{NIGHTS - 1}/{scenario}-6-candidate"
    assert reports[NEW] == f"{RUNS_URL}/{run}/report.html"


def test_link_to_the_same_board_keeps_the_time(requested: Requester) -> None:
    request = requested("nights", "synthetic")
    (row, *_) = (row for row in linked_rows(request) if row.panel == "Largest slowdowns")
    target = link_target(row.links["Show this series"], ALL)
    assert target.variables == {
        "series": row.cells["series"],
        "scenario": row.cells["scenario"],
        "datasource": request.variables["datasource"],
    }
    assert (target.shown.begin_s, target.shown.end_s) == (request.shown.begin_s, request.shown.end_s)
