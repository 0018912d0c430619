"""The run dashboard shows the condition of each alert, met where the alert fires and only there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus.grafana_queries import RUN_BOARD, TimeRange, filled, panels, read

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("rules.test.yml").read_text())["tests"]
SHOWN = TimeRange(0, 60)
CONDITIONS: Mapping[str, str] = {
    target["legendFormat"]: target["expr"]
    for panel in panels(read(RUN_BOARD))
    if panel["title"] == "Conditions of the alerts"
    for target in panel["targets"]
}


def expectations(case: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """For each alert that fires in a case its run and 1; where none fires, each alert and 0."""
    fired = {
        tried["alertname"]: (tried["exp_alerts"][0]["exp_labels"]["run"], 1)
        for tried in case["alert_rule_test"]
        if tried["exp_alerts"]
    }
    return fired or {tried["alertname"]: ("r", 0) for tried in case["alert_rule_test"]}


def promtool_passes(promtool: Path, folder: Path, conditions: Mapping[str, str]) -> bool:
    """Whether each condition was ever met in exactly the cases in which its alert fires."""
    tests = []
    for case in CASES:
        tried = []
        for alert, (run, expected) in expectations(case).items():
            # The series of the cases have no job.
            expr = filled(conditions[alert].replace(',job="server"', ""), {"run": run}, SHOWN)
            samples = [{"labels": "{}", "value": expected}]
            tried.append(
                {"expr": f"max_over_time(({expr})[1m:1s])", "eval_time": "1m", "exp_samples": samples}
            )
        tests.append({**case, "alert_rule_test": [], "promql_expr_test": tried})
    path = folder / "conditions.test.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1s", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    return done.returncode == 0


def test_each_alert_has_a_condition_on_the_run_dashboard() -> None:
    assert set(CONDITIONS) == {alert for case in CASES for alert in expectations(case)}


@pytest.mark.prometheus
def test_conditions_are_met_exactly_where_the_alerts_fire(promtool: Path, tmp_path: Path) -> None:
    assert promtool_passes(promtool, tmp_path, CONDITIONS)


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("Deadlock", "running", "waiting"),
        ("NoProgress", "== bool 0", "> bool 0"),
        ("LoadWorkersLag", "0.25", "0.75"),
        ("ServerDown", "1 - max", "max"),
        ("CounterDecreased", "resets", "changes"),
    ],
)
def test_condition_with_a_mistake_is_found(
    alert: str, old: str, new: str, promtool: Path, tmp_path: Path
) -> None:
    assert old in CONDITIONS[alert]
    wrong = {**CONDITIONS, alert: CONDITIONS[alert].replace(old, new)}
    assert not promtool_passes(promtool, tmp_path, wrong)
