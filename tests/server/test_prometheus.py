"""A real server watched by a real Prometheus: two records that agree, and dashboards that are not empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect

from history import layout
from history.events import FaultsArmed, FaultsHealed, PrometheusRead, ServerStart
from tests.prometheus.grafana_queries import (
    RUN_BOARD,
    Query,
    TimeRange,
    queries,
    read,
    run_query,
    values_of,
)
from tests.prometheus.stored_prometheus import reopened
from tests.server.bench import NEW, Bench, RunDir

pytestmark = [pytest.mark.server, pytest.mark.prometheus]

SCENARIO = Path(__file__).with_name("watched.yaml")
QUERIES = [pytest.param(query, id=query.where) for query in queries(read(RUN_BOARD))]
CURRENT = {"Phase A"}
"""Queries for the current state, which have no series once the run has ended."""
OF_GPUS = "kvchaos_gpu_"
"""Metrics of the driver: a server on a CPU has none."""
NS_PER_S = 1e9


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, server_cache: Path) -> RunDir:
    finished = Bench(tmp_path_factory.mktemp("watched"), server_cache).run_scenario(
        SCENARIO, NEW, "--prometheus"
    )
    assert finished.code == 0, finished.out + finished.err
    return finished.run()


@pytest.fixture(scope="module")
def shown(run: RunDir) -> TimeRange:
    """The whole run."""
    return TimeRange(run.event(ServerStart).t_ns / NS_PER_S, run.event(PrometheusRead).t_ns / NS_PER_S)


@pytest.fixture(scope="module")
def prometheus(run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusConnect]:
    with reopened(run.path, tmp_path_factory.mktemp("reopened")) as api:
        yield api


def test_suite_and_prometheus_scrapes_agree(run: RunDir) -> None:
    result = run.result_of("metrics-crosscheck")
    assert (result.verdict, result.violations) == ("pass", 0)
    assert result.checked > 1000


def test_prometheus_scraped_every_series_in_its_own_format(run: RunDir) -> None:
    suite, other = (
        {series.metric for series in log} for log in (run.history.metrics, run.history.prometheus)
    )
    assert suite == other
    assert "vllm:generation_tokens_total" in other


def test_final_suite_metrics_match_the_records(
    run: RunDir, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    def value(query: str, label: str) -> dict[str, float]:
        found = prometheus.custom_query(query, params={"time": shown.end_s})
        return {one["metric"][label]: float(one["value"][1]) for one in found}

    ended = value('kvchaos_requests_total{outcome="ok"}', "phase")
    fired = value("kvchaos_fault_firings_total", "fault")
    assert ended == Counter(record.phase for record in run.history.requests if record.phase in ended)
    assert fired == Counter(str(line.fault) for line in run.journal("fired"))
    assert set(fired) == {"miss", "slow"}


def test_dashboard_lists_the_run(run: RunDir, prometheus: PrometheusConnect, shown: TimeRange) -> None:
    (variable,) = (one for one in read(RUN_BOARD)["templating"]["list"] if one["type"] == "query")
    assert values_of(prometheus, variable, shown) == [run.path.name]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_but_those_of_gpus_returns_series(
    query: Query, run: RunDir, prometheus: PrometheusConnect, shown: TimeRange
) -> None:
    whole = replace(query, instant=False) if query.where in CURRENT else query
    answers = run_query(prometheus, whole, {"run": run.path.name}, shown)
    assert bool(answers) == (OF_GPUS not in query.expr)


def test_dashboard_shades_armed_faults(run: RunDir, prometheus: PrometheusConnect, shown: TimeRange) -> None:
    (query,) = (one for one in queries(read(RUN_BOARD)) if one.where == "annotation Faults")
    answers = {one.name: one.points for one in run_query(prometheus, query, {"run": run.path.name}, shown)}
    assert set(answers) == {"miss", "slow"}
    armed, healed = run.event(FaultsArmed).t_ns / NS_PER_S, run.event(FaultsHealed).t_ns / NS_PER_S
    for points in answers.values():
        marked = [t_s for t_s, value in points if value > 0]
        assert armed <= min(marked) <= armed + 2
        assert healed - 2 <= max(marked) <= healed + 2


def test_prometheus_samples_are_in_the_run_directory(run: RunDir) -> None:
    assert (run.path / layout.PROMETHEUS).stat().st_size < (run.path / layout.METRICS).stat().st_size
