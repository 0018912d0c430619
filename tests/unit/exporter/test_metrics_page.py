"""docs/metrics.md lists every metric that the suite exports; a metric without a row has no definition."""

from __future__ import annotations

from tests.support.metrics_page import PAGE, metric_families, night_metric_families, page_with_metrics


def test_page_has_a_row_for_every_exported_metric() -> None:
    """Update it with: python -m tests.support.metrics_page."""
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_metrics(page) == page


def test_every_exported_metric_has_a_meaning_and_a_sample() -> None:
    families = [*metric_families(), *night_metric_families()]
    assert [family.name for family in families if not (family.documentation and family.samples)] == []


def test_outdated_row_is_found() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("kvchaos_probes_total", "kvchaos_soak_runs"):
        changed = page.replace(name, "kvchaos_other")
        assert page_with_metrics(changed) != changed
