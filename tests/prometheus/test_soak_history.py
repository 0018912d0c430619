"""The exported nights of `kvchaos soak` in a real Prometheus, and the dashboard of campaigns over it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect

from history import layout
from kvchaos.openmetrics_text import exposition
from kvchaos.prometheus.program import DATA
from kvchaos.stability.campaign_export import RUNS_URL, campaign_families
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import soak_families
from tests.prometheus.grafana_queries import (
    CAMPAIGN_BOARD,
    Query,
    TimeRange,
    panels,
    queries,
    read,
    run_query,
    values_of,
)
from tests.prometheus.stored_prometheus import reopened
from tests.prometheus.test_night_history import CREATE, DELAY_S, HOUR_S
from tests.support.synthetic_soaks import (
    BACK,
    GONE,
    NEW,
    ONGOING,
    RUN_S,
    SOAK_NIGHTS,
    START,
    campaign_runs,
    soak_history,
    write_campaign,
)

pytestmark = pytest.mark.prometheus

CAMPAIGN = "soak-1012-020000-1f2e"
VARIABLES = {"campaign": CAMPAIGN, "signature": ONGOING}
QUERIES = {query.where: query for query in queries(read(CAMPAIGN_BOARD))}
LAST_S = START.timestamp() + (SOAK_NIGHTS - 1) * 86400
SHOWN = TimeRange(START.timestamp() - DELAY_S, LAST_S + DELAY_S, HOUR_S)
RUNS = campaign_runs(SOAK_NIGHTS - 1)


@pytest.fixture(scope="module")
def prometheus(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusConnect]:
    folder = tmp_path_factory.mktemp("soaks")
    campaign = read_campaign(write_campaign(folder / CAMPAIGN))
    exported, blocks = folder / "history.om", folder / layout.PROMETHEUS_FOLDER / DATA
    families = [*soak_families(soak_history()), *campaign_families([campaign])]
    exported.write_text(exposition(families))
    subprocess.run([promtool, *CREATE, exported, blocks], check=True, capture_output=True, timeout=120)
    with reopened(folder, folder) as api:
        yield api


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_every_query_of_the_campaign_dashboard_returns_series(
    query: Query, prometheus: PrometheusConnect
) -> None:
    assert run_query(prometheus, query, VARIABLES, SHOWN)


def test_variables_of_the_campaign_dashboard_list_campaigns_and_signatures(
    prometheus: PrometheusConnect,
) -> None:
    campaign, signature, runs_url = (
        each for each in read(CAMPAIGN_BOARD)["templating"]["list"] if each["type"] == "query"
    )
    assert values_of(prometheus, campaign, SHOWN) == [CAMPAIGN]
    assert set(values_of(prometheus, signature, SHOWN)) == {ONGOING, GONE, BACK, NEW}
    assert values_of(prometheus, runs_url, SHOWN, VARIABLES) == [f"{RUNS_URL}/{CAMPAIGN}"]


def test_timeline_shows_the_state_of_each_signature(prometheus: PrometheusConnect) -> None:
    panel = next(each for each in panels(read(CAMPAIGN_BOARD)) if each["type"] == "state-timeline")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    states = {float(value): each["text"] for value, each in mapping["options"].items()}
    answers = run_query(prometheus, QUERIES["States of the signatures A"], VARIABLES, SHOWN)
    last = {answer.name: states[answer.points[-1][1]] for answer in answers}
    assert last == {ONGOING: "ongoing", GONE: "gone", BACK: "back", NEW: "new"}


def test_grid_has_a_cell_for_each_failing_or_unknown_oracle_of_a_run(prometheus: PrometheusConnect) -> None:
    answers = run_query(prometheus, QUERIES["Runs by oracle A"], VARIABLES, SHOWN)
    cells = {(answer.name, answer.points[-1][1]) for answer in answers}
    failing = {
        (f"{run.run}: {each.signature.partition('/')[0]}", 2) for run in RUNS for each in run.signatures
    }
    assert cells == failing | {(f"{run.run}: client", 1) for run in RUNS if run.outcome == "unknown"}


def test_columns_of_the_run_table_give_the_time_window_of_the_link(prometheus: PrometheusConnect) -> None:
    began, ended = (
        {
            answer.name: answer.points[-1][1]
            for answer in run_query(
                prometheus, replace(QUERIES[f"All runs {letter}"], legend="{{run}}"), VARIABLES, SHOWN
            )
        }
        for letter in "AB"
    )
    assert began == {run.run: (LAST_S + run.number * RUN_S) * 1000 for run in RUNS}
    assert ended == {run: start + RUN_S * 1000 for run, start in began.items()}
