"""The dashboard of production servers: each query returns series on the metrics of a recorded run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.parts import METRIC
from oracles.laws.families import BOUND, REASONS, family
from tests.prometheus.grafana_queries import FLEET_BOARD, TimeRange, filled, queries, read
from tests.prometheus.test_alert_rules import RECORDING, RULE_FILES, rules_of
from tests.prometheus.test_production_alerts import RELEASES, SCRAPE_S, fires_exactly, promtool_test
from tests.support.recorded_metrics import read_recorded

RUN = "evict-storm-0.32.0"
VARIABLES = {"instance": "host:8000", "model": "tiny"}
SHOWN = TimeRange(0, 3600)
RATE_INTERVAL = "2m"
"""What Grafana makes of $__rate_interval where scrapes are 30 s apart."""
QUERIES = {query.where: query.expr for query in queries(read(FLEET_BOARD))}


def returns_series(expr: str, expected: int = 1) -> dict[str, Any]:
    """The test that a query returned series at some time."""
    expr = filled(expr.replace("$__rate_interval", RATE_INTERVAL), VARIABLES, SHOWN)
    counted = f"max_over_time((count({expr}) > bool 0 or vector(0))[1h:{SCRAPE_S}s])"
    return {"expr": counted, "eval_time": "54m", "exp_samples": [{"labels": "{}", "value": expected}]}


def promtool_report(promtool: Path, folder: Path, tests: list[dict[str, Any]], run: str = RUN) -> str:
    case = fires_exactly(read_recorded(run), set())
    return promtool_test(promtool, folder, {**case, "promql_expr_test": tests})


@pytest.mark.prometheus
def test_every_query_of_the_fleet_dashboard_returns_series(promtool: Path, tmp_path: Path) -> None:
    assert promtool_report(promtool, tmp_path, [returns_series(expr) for expr in QUERIES.values()]) == ""


@pytest.mark.prometheus
@pytest.mark.parametrize("release", RELEASES)
def test_transfers_have_data_under_the_names_of_each_release(
    release: str, promtool: Path, tmp_path: Path
) -> None:
    names = ("KV loads A", "KV stores A", "Hit rate of the tier A", "ITL, 99 % A")
    tests = [returns_series(QUERIES[name]) for name in names]
    assert promtool_report(promtool, tmp_path, tests, f"baseline-offload-{release}") == ""


@pytest.mark.prometheus
@pytest.mark.parametrize("old", ["instance:vllm_requests_waiting:sum", "instance=~", "requests_running"])
def test_query_with_a_wrong_name_returns_nothing(old: str, promtool: Path, tmp_path: Path) -> None:
    wrong = [
        expr.replace(old, "other=~" if "=" in old else "other") for expr in QUERIES.values() if old in expr
    ]
    assert wrong
    assert promtool_report(promtool, tmp_path, [returns_series(expr, 0) for expr in wrong]) == ""


def test_fleet_dashboard_and_rules_query_metrics_of_vllm_only() -> None:
    recorded = {rule["record"] for rule in rules_of(RECORDING)}
    rules = "".join(yaml.safe_dump(rules_of(name)) for name in (RECORDING, RULE_FILES[1]))
    used = set(METRIC.findall(rules + json.dumps(list(QUERIES.values()))))
    others = {"up", "scrape_duration_seconds", "process_start_time_seconds"}
    vllm = {name for name in used - recorded - others if name.startswith("vllm:")}
    assert used == vllm | recorded | (used & others)
    assert [name for name in vllm if family(name) not in {*BOUND, *REASONS}] == []


def test_rules_aggregate_by_server_and_model() -> None:
    for rule in rules_of(RECORDING):
        for labels in re.findall(r"\b(?:sum|max) by \(([^)]*)\)", rule["expr"]):
            assert labels.startswith("job, instance"), rule["record"]
