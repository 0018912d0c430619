"""The exported history of the nights as a database of a real Prometheus."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from history import layout
from kvchaos.nightly.openmetrics_export import openmetrics
from kvchaos.prometheus.program import DATA
from tests.prometheus.stored_prometheus import reopened
from tests.support.synthetic_nights import NEW, synthetic_year


@pytest.mark.prometheus
def test_prometheus_answers_queries_from_the_exported_nights(promtool: Path, tmp_path: Path) -> None:
    # Prometheus keeps the last 15 days by default.
    nights = synthetic_year(10)
    exported, blocks = tmp_path / "history.om", tmp_path / layout.PROMETHEUS_FOLDER / DATA
    exported.write_text(openmetrics(nights))
    command: list[str | Path] = [
        promtool,
        "tsdb",
        "create-blocks-from",
        "--max-block-duration=2000h",
        "openmetrics",
    ]
    command += [exported, blocks]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    last = nights.nights[-1].night
    decision = nights.by_series[NEW][-1].decision
    assert decision is not None
    at = {"time": str(datetime.fromisoformat(last).timestamp() + 3600)}
    with reopened(tmp_path, tmp_path) as api:
        (slowdown,) = api.custom_query(
            f'ln(1 + last_over_time(kvchaos_night_slowdown_ratio{{series="{NEW}"}}[2h]))', at
        )
        (regressed,) = api.custom_query(
            'count(last_over_time(kvchaos_night_result{result="regressed"}[2h]) == 1)', at
        )
    assert float(slowdown["value"][1]) == pytest.approx(decision.slowdown, abs=1e-6)
    found = [point.decision for point in nights.by_night[last] if point.decision is not None]
    assert float(regressed["value"][1]) == sum(each.result == "regressed" for each in found)
