"""A dashboard that differs from its code, or asks for what nobody serves, fails when it is needed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import night_board, search_panels
from dashboards.parts import METRIC
from dashboards.write import FOLDER, dashboards, text
from kvchaos.exporter.live_state import FiringCounter, LiveRunState
from kvchaos.exporter.suite_metrics import KvchaosCollector
from kvchaos.stability.campaign_export import RUNS_URL
from tests.prometheus.grafana_queries import DASHBOARDS, RUN_BOARD, panels, queries, read
from tests.support.board_rules import data_links
from tests.support.metrics_page import night_metric_families
from tests.support.synthetic_records import make_plan

COLUMNS = 24
KV_CACHE = "/d/vllm-kv-cache"
"""A dashboard of vLLM."""
SUFFIXES = ("", "_total", "_bucket")


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


@pytest.mark.parametrize("path", dashboards(), ids=lambda path: path.stem)
def test_dashboard_json_matches_its_code(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == text(dashboards()[path]), (
        "bring it up to date with: python -m dashboards.write"
    )


def test_every_json_has_its_code() -> None:
    assert set(FOLDER.glob("*.json")) == set(dashboards())


def test_grafana_types_round_trip_the_dashboard(board: dict[str, Any]) -> None:
    again = JSONEncoder().encode(Dashboard.from_json(board))
    for panel in panels(board):
        assert f'"{panel["title"]}"' in again
    for query in queries(board):
        assert query.expr.replace('"', '\\"') in again


def test_panels_do_not_overlap(board: dict[str, Any]) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= COLUMNS
        taken.update(
            (grid["x"] + column, grid["y"] + row) for column in range(grid["w"]) for row in range(grid["h"])
        )
    assert max(taken.values()) == 1


def test_every_panel_has_a_description_with_its_metrics(board: dict[str, Any]) -> None:
    for panel in panels(board):
        about, _, metrics = panel["description"].partition(" Metrics: ")
        assert about.endswith(".")
        names = {name for target in panel["targets"] for name in METRIC.findall(target["expr"])}
        assert set(metrics.rstrip(".").split(", ")) == names
        assert names


def test_titles_are_unique(board: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


def test_every_query_of_the_run_dashboard_is_of_the_chosen_run() -> None:
    for query in queries(read(RUN_BOARD)):
        assert query.expr.count("{") == query.expr.count('run="$run"'), query


def test_links_lead_to_other_dashboards_and_known_variables(board: dict[str, Any]) -> None:
    boards = {other["uid"]: other for other in map(read, DASHBOARDS)}
    for link in board["links"]:
        assert link.get("url") == KV_CACHE or any(
            set(link["tags"]) <= set(other["tags"]) for uid, other in boards.items() if uid != board["uid"]
        )
    urls = [url for _, url in data_links(board)]
    for url in urls:
        if url.startswith("${runs_url}/") or url == night_board.REPORT:
            continue
        target = boards[url.removeprefix("/d/").partition("?")[0]]
        known = {variable["name"] for variable in target["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", url)) <= known
    assert urls


def test_dashboard_of_a_run_expects_its_reports_where_the_export_does() -> None:
    (variable,) = (
        each for each in read(RUN_BOARD)["templating"]["list"] if each["name"] == search_panels.RUNS_URL
    )
    assert variable["query"] == RUNS_URL


def test_grafana_menu_hides_no_link_or_annotation(board: dict[str, Any]) -> None:
    assert not [each for each in [*board["links"], *board["annotations"]["list"]] if "placement" in each]


def test_every_queried_suite_metric_is_exported(board: dict[str, Any], tmp_path: Path) -> None:
    served = {
        family.name
        for family in KvchaosCollector(LiveRunState(make_plan(), FiringCounter(tmp_path))).collect()
    }
    exported = {family.name for family in night_metric_families()}
    known = {f"{name}{suffix}" for name in served for suffix in SUFFIXES} | exported
    queried = {name for one in queries(board) for name in re.findall(r"kvchaos_\w+", one.expr)}
    assert queried <= known
