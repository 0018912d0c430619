"""The tables of the suite's own metrics in docs/metrics.md, from the exporters themselves.

Run as a module it updates the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.openmetrics import parser

from history.records import ClientRecord
from history.scenario import FaultSpec, Trigger
from kvchaos.exporter.live_state import FiringCounter, LiveRunState
from kvchaos.exporter.suite_metrics import KvchaosCollector
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.openmetrics_text import exposition
from kvchaos.report.text_tables import markdown_table, replace_between
from kvchaos.stability.campaign_export import campaign_families
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import soak_families
from loadtests.messages import Health
from tests.support.source_tree import ROOT
from tests.support.synthetic_nights import synthetic_year
from tests.support.synthetic_records import gpu_sample, make_plan
from tests.support.synthetic_soaks import soak_history, write_campaign

families_of: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families
NIGHTS = 40
"""So many that a change is opened, confirmed and fixed."""
PAGE = ROOT / "docs" / "metrics.md"
MARK = "<!-- suite metrics -->"
NIGHTS_MARK = "<!-- metrics of the nights -->"
HEADINGS = ("metric", "type", "labels", "meaning")
HIDDEN = frozenset({"le"})
"""Labels that are part of the exposition format."""


def metric_families() -> list[Metric]:
    """Every family that the suite exports, each with at least one sample."""
    plan = make_plan(faults=(FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(every=1)),))
    with tempfile.TemporaryDirectory() as folder:
        state = LiveRunState(plan, FiringCounter(Path(folder)), lambda: [gpu_sample()])
        state.report(0, Health(_client_record()))
        return list(KvchaosCollector(state).collect())


def night_metric_families() -> list[Metric]:
    """Every family of the OpenMetrics export, each with at least one sample."""
    with tempfile.TemporaryDirectory() as folder:
        campaign = read_campaign(write_campaign(Path(folder) / "soak"))
    families = chain(
        night_families(synthetic_year(NIGHTS)), soak_families(soak_history()), campaign_families([campaign])
    )
    return list(families_of(exposition(families)))


def page_with_metrics(page: str) -> str:
    """The page with the tables between their marks."""
    page = replace_between(page, MARK, markdown_table(HEADINGS, map(_row, metric_families())))
    return replace_between(page, NIGHTS_MARK, markdown_table(HEADINGS, map(_row, night_metric_families())))


def _row(family: Metric) -> tuple[str, ...]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = dict.fromkeys(_label_names(family))
    return f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


def _label_names(family: Metric) -> Iterator[str]:
    for sample in family.samples:
        yield from (label for label in sample.labels if label not in HIDDEN)


def _client_record() -> ClientRecord:
    return ClientRecord(
        t_ns=1,
        mono_ns=1,
        worker=0,
        phase="chaos",
        wall_us=1,
        cpu_us=1,
        event_loop_lag_us=[1],
        gc_pause_us=[],
        connections=1,
    )


if __name__ == "__main__":
    PAGE.write_text(page_with_metrics(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
