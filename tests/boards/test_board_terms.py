"""What the checks of drawn boards take for granted: intervals, and units and terms of queries."""

from __future__ import annotations

import pytest

from tests.boards.board_request import filled_text, step_s
from tests.boards.expected_units import is_written_in, unit_of
from tests.boards.legend_terms import contradicted_terms
from tests.boards.panel_bundles import chosen_versions
from tests.prometheus.grafana_queries import TimeRange

DAY_S = 86400


@pytest.mark.parametrize(
    ("length_s", "columns", "interval", "step"),
    [
        (60, 24, None, 1),
        (3600, 24, None, 2),
        (6 * 3600, 8, None, 30),
        (90 * DAY_S, 24, "1h", 3600),
        (90 * DAY_S, 6, "1h", 21600),
        (60, 24, "1h", 3600),
    ],
)
def test_step_is_that_of_grafana(length_s: int, columns: int, interval: str | None, step: int) -> None:
    panel = {"gridPos": {"w": columns}, "interval": interval}
    assert step_s(panel, TimeRange(0, length_s)) == step


def test_intervals_and_variables_are_filled_in_and_unknown_ones_stay() -> None:
    text = 'rate(a{run="$run"}[$__rate_interval]) + b[$__range] + ${run:regex} + $other'
    filled = filled_text(text, {"run": "r"}, TimeRange(0, 59.5, scrape_s=30))
    assert filled == 'rate(a{run="r"}[120s]) + b[60s] + r + $other'


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        ("histogram_quantile(0.5, sum by (le) (rate(a_seconds_bucket{}[4s])))", "s"),
        ("sum(rate(a_bytes_total{}[4s]))", "Bps"),
        ("sum(rate(kvchaos_requests_total{}[4s]))", "reqps"),
        ('max(vllm:kv_cache_usage_perc{job="server"})', "percentunit"),
        ("process_resident_memory_bytes{}", "bytes"),
        ("last_over_time(kvchaos_night_duration_seconds{}[1h])", "s"),
        ("sum(changes(process_start_time_seconds{}[60s]))", "short"),
        ("max(instance:a:ratio_rate1h{}) / 0.01", "short"),
        ("sum(vllm:num_requests_running{})", "short"),
    ],
)
def test_unit_of_a_query_follows_from_its_metrics(expr: str, unit: str) -> None:
    assert unit_of(expr) == unit


@pytest.mark.parametrize(
    ("unit", "text", "written"),
    [
        ("s", "250 ms", True),
        ("s", "250", False),
        ("s", "1.5 MiB", False),
        ("reqps", "5 req/s", True),
        ("percentunit", "0.5%", True),
        ("bytes", "640 MiB", True),
        ("bytes", "640 MB/s", False),
        ("short", "1.2 K", True),
        ("short", "1 req/s", False),
    ],
)
def test_text_at_an_axis_is_in_its_unit(unit: str, text: str, written: bool) -> None:
    assert is_written_in(unit, text) == written


def test_legend_without_a_known_term_or_label_is_a_problem() -> None:
    assert list(contradicted_terms("amount", "sum(a)"))
    assert not list(contradicted_terms("{{reason}}", "sum by (reason) (a)"))


def test_unknown_version_is_an_error() -> None:
    with pytest.raises(AssertionError, match=r"9\.9\.9"):
        chosen_versions({"KVCHAOS_GRAFANA": "9.9.9"})
