"""Alerts for production servers: each fires on a recorded violation, none on passing runs of six releases.

A scrape of a recorded run is a scrape of production here, 30 s after the one before, or 10 s where the outage
would else be longer than the windows of the rules.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvchaos.prometheus.program import SOURCE
from tests.support.recorded_metrics import (
    HISTOGRAMS,
    RecordedMetrics,
    Values,
    input_series,
    read_recorded,
)

pytestmark = pytest.mark.prometheus

RULE_FILES = ("production-recording.yml", "production-alerts.yml")
SCRAPE_S = 30
SHORT_S = 10
RELEASES = ("0.16.0", "0.18.0", "0.21.0", "0.24.0", "0.28.0", "0.32.0")
PASSING = "baseline-offload-0.32.0"
FIRED = 'group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[6h]))'
HALF = 0.5
EditSeries = Callable[[str, Values], Values]
"""From a series, by its key, to one that violates a law."""
Alteration = Callable[[RecordedMetrics], RecordedMetrics]

RECORDED = {
    "kill-and-restart-0.32.0": {"VllmServerDown", "VllmServerRestarted"},
    "mid-prefill-preemption-0.21.0": {"VllmDeadlock", "VllmFirstTokensSlow"},
    "lost-completion-abort-0.32.0": {"VllmDeadlock", "VllmBlocksLeaked"},
    "load-failure-fail-policy-0.32.0": {"VllmRequestsFail"},
    "evict-storm-0.32.0": {"VllmTierAllocationFails"},
}
"""Alerts that fire on the metrics of a run with a fault or a known bug."""
INTERVALS = {"kill-and-restart-0.32.0": SHORT_S}
"""Seconds from scrape to scrape, where it is not SCRAPE_S."""


def altered(edit: EditSeries) -> Alteration:
    """Change each series."""

    def alteration(recorded: RecordedMetrics) -> RecordedMetrics:
        series = {key: edit(key, values) for key, values in recorded.series.items()}
        return replace(recorded, series=series)

    return alteration


def drop_scrapes(recorded: RecordedMetrics) -> RecordedMetrics:
    """Each third scrape fails."""
    up = [int(number % 3 > 0) for number in range(len(recorded.up))]
    series = {
        key: [value if state else None for value, state in zip(values, up, strict=True)]
        for key, values in recorded.series.items()
    }
    return replace(recorded, up=up, series=series)


def middle(values: Values) -> int:
    return int(len(values) * HALF)


def decrease(key: str, values: Values) -> Values:
    """A token counter that loses half of its value."""
    half = middle(values)
    if not key.startswith("vllm:generation_tokens_total"):
        return values
    return [*values[:half], *(value and value * HALF for value in values[half:])]


def freeze(key: str, values: Values) -> Values:
    """No token is computed any more from the middle on, while a request runs."""
    half = middle(values)
    if key.startswith("vllm:num_requests_running"):
        return [*values[:half], *(3.0 for _ in values[half:])]
    if key.startswith(("vllm:generation_tokens", "vllm:prompt_tokens", "vllm:iteration_tokens")):
        return [*values[:half], *(values[half] for _ in values[half:])]
    return values


def miss(key: str, values: Values) -> Values:
    """No lookup in the tier hits any more from the second fifth on."""
    start = 2 * len(values) // 5
    if not key.startswith("vllm:external_prefix_cache_hits_total"):
        return values
    return [*values[:start], *(values[start] for _ in values[start:])]


def overcount(key: str, values: Values) -> Values:
    """More hits than lookups."""
    added = 1e6 if key.startswith("vllm:external_prefix_cache_hits_total") else 0
    return [None if value is None else value + added for value in values]


def slow(key: str, values: Values) -> Values:
    """Only half of the gaps between tokens are within the lower buckets."""
    name, _, labels = key.partition("{")
    low = any(f'le="{bound}"' in labels for bound in ("0.01", "0.025", "0.05", "0.075", "0.1", "0.15", "0.2"))
    if name != f"{HISTOGRAMS[1]}_bucket" or not low:
        return values
    return [None if value is None else value * HALF for value in values]


ALTERED: Mapping[str, Alteration] = {
    "VllmScrapesFail": drop_scrapes,
    "VllmCounterDecreased": altered(decrease),
    "VllmNoProgress": altered(freeze),
    "VllmTierHitsVanished": altered(miss),
    "VllmCountsContradict": altered(overcount),
    "VllmTokensSlow": altered(slow),
}
"""Alerts whose violation no recorded run has, with what makes it of a passing run."""


MISTAKES = [
    ("kill-and-restart-0.32.0", "(up == bool 0)", "(up == bool 2)"),
    ("kill-and-restart-0.32.0", "process_start_time_seconds[1h]", "process_start_time_seconds[1m]"),
    (
        "mid-prefill-preemption-0.21.0",
        "vllm:num_requests_waiting > bool 0",
        "vllm:num_requests_waiting > bool 99",
    ),
    ("mid-prefill-preemption-0.21.0", 'le="5.0"', 'le="160.0"'),
    (
        "lost-completion-abort-0.32.0",
        "vllm:kv_cache_usage_perc > bool 0",
        "vllm:kv_cache_usage_perc > bool 1",
    ),
    ("load-failure-fail-policy-0.32.0", 'finished_reason="error"', 'finished_reason="failed"'),
    ("evict-storm-0.32.0", "allocation_failure_total", "allocation_failures_total"),
]
"""A run, and a text of the rules with what makes them wrong for it."""


def promtool_test(
    promtool: Path,
    folder: Path,
    test: dict[str, Any],
    old: str = "",
    new: str = "",
    rule_files: Sequence[str] = RULE_FILES,
) -> str:
    """What promtool reports of a test; empty if it passes. `old` is replaced by `new` in the rules."""
    for name in rule_files:
        text = (SOURCE / name).read_text()
        (folder / name).write_text(text.replace(old, new) if old else text)
    path = folder / "production.test.yml"
    content = {"rule_files": list(rule_files), "evaluation_interval": test["interval"], "tests": [test]}
    path.write_text(yaml.safe_dump(content))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def fires_exactly(recorded: RecordedMetrics, alerts: set[str], scrape_s: int = SCRAPE_S) -> dict[str, Any]:
    """The test that these alerts fire at some time, and no other."""
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
    end = f"{len(recorded.up) * scrape_s}s"
    return {
        "interval": f"{scrape_s}s",
        "input_series": input_series(recorded),
        "promql_expr_test": [{"expr": FIRED, "eval_time": end, "exp_samples": samples}],
    }


@pytest.mark.parametrize("release", RELEASES)
def test_no_alert_fires_on_a_passing_run(release: str, promtool: Path, tmp_path: Path) -> None:
    recorded = read_recorded(f"baseline-offload-{release}")
    assert promtool_test(promtool, tmp_path, fires_exactly(recorded, set())) == ""


@pytest.mark.parametrize(("run", "alerts"), RECORDED.items(), ids=RECORDED)
def test_alerts_fire_on_a_recorded_violation(
    run: str, alerts: set[str], promtool: Path, tmp_path: Path
) -> None:
    case = fires_exactly(read_recorded(run), alerts, INTERVALS.get(run, SCRAPE_S))
    assert promtool_test(promtool, tmp_path, case) == ""


def test_annotations_name_server_figures_and_time_window(promtool: Path, tmp_path: Path) -> None:
    labels = '{engine="0",model_name="tiny"}'
    states: dict[str, Values] = {"waiting": [3.0] * 20, "running": [0.0] * 20}
    labelled = {f"vllm:num_requests_{state}{labels}": values for state, values in states.items()}
    case = fires_exactly(RecordedMetrics("0.32.0", "deadlock", [1] * 20, labelled), {"VllmDeadlock"})
    target = {"job": "vllm", "instance": "host:8000", "model_name": "tiny"}
    annotations = {
        "summary": "Requests wait and an engine runs none.",
        "description": "3 requests of tiny wait on host:8000, and an engine with waiting requests runs none.",
        "runbook_url": "docs/alerts.md#vllmdeadlock",
        "dashboard_url": "/d/kvchaos-fleet?var-instance=host:8000&var-model=tiny&from=-3000000&to=600000",
    }
    expected = {"exp_labels": {**target, "severity": "critical"}, "exp_annotations": annotations}
    case["alert_rule_test"] = [
        {"alertname": "VllmDeadlock", "eval_time": f"{20 * SCRAPE_S}s", "exp_alerts": [expected]}
    ]
    assert promtool_test(promtool, tmp_path, case) == ""


@pytest.mark.parametrize(("alert", "alteration"), ALTERED.items(), ids=ALTERED)
def test_alert_fires_on_an_altered_passing_run(
    alert: str, alteration: Alteration, promtool: Path, tmp_path: Path
) -> None:
    recorded = alteration(read_recorded(PASSING))
    assert promtool_test(promtool, tmp_path, fires_exactly(recorded, {alert})) == ""


@pytest.mark.parametrize(("run", "old", "new"), MISTAKES)
def test_rule_with_a_mistake_is_found(run: str, old: str, new: str, promtool: Path, tmp_path: Path) -> None:
    assert any(old in (SOURCE / name).read_text() for name in RULE_FILES)
    case = fires_exactly(read_recorded(run), RECORDED[run], INTERVALS.get(run, SCRAPE_S))
    assert "exp:" in promtool_test(promtool, tmp_path, case, old, new)


def test_every_production_alert_has_a_run_on_which_it_fires() -> None:
    content = yaml.safe_load((SOURCE / RULE_FILES[1]).read_text())
    names = {rule["alert"] for group in content["groups"] for rule in group["rules"]}
    assert set().union(*RECORDED.values(), ALTERED) == names
