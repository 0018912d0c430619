"""Alerts of a run on the metrics of recorded runs: what fires on violations, and silence on passing runs.

Records of the clients are not among these metrics, so RequestsFail and LoadWorkersLag have no data here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.prometheus.program import RULES
from tests.prometheus.test_production_alerts import (
    ALTERED,
    FIRED,
    PASSING,
    RELEASES,
    promtool_test,
)
from tests.support.recorded_metrics import OF_A_RUN, RecordedMetrics, input_series, read_recorded

pytestmark = pytest.mark.prometheus

SCRAPE_MS, SHORT_MS = 500, 250
"""From scrape to scrape. The shorter one is for runs with an outage, which must fit into the windows."""
RECORDED = {
    "kill-and-restart-0.32.0": {"ServerDown", "ServerRestarted"},
    "mid-prefill-preemption-0.21.0": {"Deadlock"},
    "lost-completion-abort-0.32.0": {"BlocksLeaked", "Deadlock"},
    "load-failure-fail-policy-0.32.0": set[str](),
    "evict-storm-0.32.0": set[str](),
}
EDITED = {"VllmCounterDecreased": {"CounterDecreased"}, "VllmNoProgress": {"NoProgress"}}
"""Alerts that fire on an edit of a passing run, by the alert for production that the edit is for."""


def report(
    promtool: Path, folder: Path, recorded: RecordedMetrics, alerts: set[str], scrape_ms: int = SCRAPE_MS
) -> str:
    """What promtool reports where other alerts than these fire; else empty."""
    active = {"series": 'kvchaos_phase_active{run="r",phase="load"}', "values": f"1x{len(recorded.up)}"}
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
    end = f"{len(recorded.up) * scrape_ms // 1000}s"
    test = {
        "interval": f"{scrape_ms}ms",
        "input_series": [*input_series(recorded, OF_A_RUN), active],
        "promql_expr_test": [{"expr": FIRED, "eval_time": end, "exp_samples": samples}],
    }
    return promtool_test(promtool, folder, test, rule_files=(RULES,))


@pytest.mark.parametrize("release", RELEASES)
def test_no_alert_fires_on_a_passing_run(release: str, promtool: Path, tmp_path: Path) -> None:
    assert report(promtool, tmp_path, read_recorded(f"baseline-offload-{release}"), set()) == ""


@pytest.mark.parametrize(("run", "alerts"), RECORDED.items(), ids=RECORDED)
def test_alerts_fire_on_a_recorded_violation(
    run: str, alerts: set[str], promtool: Path, tmp_path: Path
) -> None:
    scrape_ms = SHORT_MS if "ServerRestarted" in alerts else SCRAPE_MS
    assert report(promtool, tmp_path, read_recorded(run), alerts, scrape_ms) == ""


@pytest.mark.parametrize(("edit", "alerts"), EDITED.items(), ids=EDITED)
def test_alert_fires_on_an_edited_passing_run(
    edit: str, alerts: set[str], promtool: Path, tmp_path: Path
) -> None:
    assert report(promtool, tmp_path, ALTERED[edit](read_recorded(PASSING)), alerts) == ""
