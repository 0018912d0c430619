"""The exported history of the nights as a database of a real Prometheus, and the dashboard that reads it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect

from history import layout
from kvchaos.nightly.night_store import NightHistory
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.openmetrics_text import exposition
from kvchaos.prometheus.program import DATA
from kvchaos.stability.campaign_export import campaign_families
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import soak_families
from tests.prometheus.grafana_queries import (
    NIGHT_BOARD,
    Query,
    TimeRange,
    queries,
    read,
    run_query,
    values_of,
)
from tests.prometheus.stored_prometheus import reopened
from tests.support.synthetic_nights import BLIND, NEW, OLD, synthetic_year
from tests.support.synthetic_soaks import soak_history, write_campaign

pytestmark = pytest.mark.prometheus

NIGHTS = 60
HOUR_S, DELAY_S = 3600, 1800
CREATE = ("tsdb", "create-blocks-from", "--max-block-duration=2000h", "openmetrics")
VARIABLES = {"scenario": NEW.partition("/")[0], "series": NEW}
QUERIES = {query.where: query for query in queries(read(NIGHT_BOARD))}


@pytest.fixture(scope="module")
def nights() -> NightHistory:
    return synthetic_year(NIGHTS)


@pytest.fixture(scope="module")
def shown(nights: NightHistory) -> TimeRange:
    """All nights; queried for half past each hour, since Prometheus 2 counts both ends of a window."""
    first, last = (start_s(nights.nights[index].night) for index in (0, -1))
    return TimeRange(first - DELAY_S, last + DELAY_S, HOUR_S)


@pytest.fixture(scope="module")
def prometheus(
    nights: NightHistory, promtool: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusConnect]:
    folder = tmp_path_factory.mktemp("nights")
    exported, blocks = folder / "history.om", folder / layout.PROMETHEUS_FOLDER / DATA
    campaign = read_campaign(write_campaign(folder / "campaign"))
    families = [*night_families(nights), *soak_families(soak_history()), *campaign_families([campaign])]
    exported.write_text(exposition(families))
    subprocess.run([promtool, *CREATE, exported, blocks], check=True, capture_output=True, timeout=120)
    with reopened(folder, folder) as api:
        yield api


def start_s(night: str) -> float:
    return datetime.fromisoformat(night).timestamp()


def test_prometheus_answers_queries_from_the_exported_nights(
    nights: NightHistory, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    last = nights.nights[-1].night
    decision = nights.by_series[NEW][-1].decision
    assert decision is not None
    at = {"time": str(shown.end_s)}
    (slowdown,) = prometheus.custom_query(
        f'ln(1 + last_over_time(kvchaos_night_slowdown_ratio{{series="{NEW}"}}[2h]))', at
    )
    (regressed,) = prometheus.custom_query(
        'count(last_over_time(kvchaos_night_result{result="regressed"}[2h]) == 1)', at
    )
    assert float(slowdown["value"][1]) == pytest.approx(decision.slowdown, abs=1e-6)
    found = [point.decision for point in nights.by_night[last] if point.decision is not None]
    assert float(regressed["value"][1]) == sum(each.result == "regressed" for each in found)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_every_query_of_the_night_dashboard_returns_series(
    query: Query, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    assert run_query(prometheus, query, VARIABLES, shown)


def test_renamed_metric_on_the_night_dashboard_returns_nothing(
    prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    query = QUERIES["Slowdown of the series A"]
    renamed = replace(query, expr=query.expr.replace("slowdown_ratio", "slowdown"))
    assert not run_query(prometheus, renamed, VARIABLES, shown)


def test_largest_slowdowns_have_the_last_report_and_stay_without_one(
    prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    expr = QUERIES["Largest slowdowns A"].expr
    at = {"time": str(shown.end_s)}
    once = prometheus.custom_query(expr, at)
    # Several nights within the window, and an older export without reports.
    often = prometheus.custom_query(expr.replace("[1d]", "[3d]"), at)
    without = prometheus.custom_query(expr.replace("report_time_seconds", "absent"), at)
    series = [each["metric"]["series"] for each in once]
    assert NEW in series
    assert series == [each["metric"]["series"] for each in without]
    assert not any("report" in each["metric"] for each in without)
    for found in (once, often):
        assert all(f"-night-{NIGHTS - 1}/" in each["metric"]["report"] for each in found)
    values = [float(each["value"][1]) for each in once]
    assert values == sorted(values, reverse=True)


def test_variables_of_the_night_dashboard_list_watched_series_of_the_scenario(
    nights: NightHistory, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    scenario, series = (each for each in read(NIGHT_BOARD)["templating"]["list"] if each["type"] == "query")
    watched = {name for name, points in nights.by_series.items() if points[-1].role == "watch"}
    assert set(values_of(prometheus, scenario, shown)) == {name.partition("/")[0] for name in watched}
    listed = values_of(prometheus, series, shown, {"scenario": VARIABLES["scenario"]})
    assert set(listed) == {name for name in watched if name.startswith(f"{VARIABLES['scenario']}/")}


def test_each_night_is_one_point_of_its_series(
    nights: NightHistory, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    (answer,) = run_query(prometheus, QUERIES["Slowdown of the series A"], VARIABLES, shown)
    times = [start_s(night.night) for night in nights.nights]
    assert [t_s - DELAY_S for t_s, _ in answer.points] == times


def test_changes_are_marked_on_their_nights(
    nights: NightHistory, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    annotations = [query for where, query in QUERIES.items() if where.startswith("annotation ")]
    marks = {
        (answer.name, t_s - DELAY_S)
        for query in annotations
        for answer in run_query(prometheus, replace(query, legend="{{event}} {{change}}"), VARIABLES, shown)
        for t_s, _ in answer.points
    }
    assert marks == {(f"{line.event} {line.change}", start_s(line.night)) for line in nights.changes}
    assert {name.partition(" ")[0] for name, _ in marks} == {"opened", "confirmed", "accepted", "fixed"}


def test_control_band_is_the_mean_half_interval_of_the_control_nights(
    nights: NightHistory, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    (upper,), (lower,) = (
        run_query(prometheus, QUERIES[f"Slowdown of the series {letter}"], VARIABLES, shown)
        for letter in "DE"
    )
    controls = [night.night for night in nights.nights if night.kind == "control"][-4:]
    halves = [
        point.decision.high - point.decision.slowdown
        for point in nights.by_series[NEW]
        if point.night in controls
        and point.decision is not None
        and point.decision.high is not None
        and point.decision.slowdown is not None
    ]
    assert len(halves) == len(controls)
    assert upper.points[-1][1] == pytest.approx(sum(halves) / len(halves), rel=0.05)
    assert [(t_s, -value) for t_s, value in lower.points] == upper.points


def test_result_of_each_series_has_its_state(prometheus: PrometheusConnect, shown: TimeRange) -> None:
    panel = next(each for each in read(NIGHT_BOARD)["panels"] if each["type"] == "state-timeline")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    states = {float(value): each["text"] for value, each in mapping["options"].items()}
    found = {}
    for scenario in (NEW.partition("/")[0], OLD.partition("/")[0]):
        query = QUERIES["Results of the scenario A"]
        for answer in run_query(prometheus, query, {"scenario": scenario}, shown):
            found[answer.name] = states[answer.points[-1][1]]
    assert (found[NEW], found[BLIND]) == ("regressed", "blind")
    assert "same" in found.values()
