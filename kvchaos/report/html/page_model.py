"""All that the page shows, as data: a pure function of the history and its verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from history import layout
from history.plan import RunPlan
from history.reader import History
from history.verdict import RunVerdict
from kvchaos.report.coverage import Grid, coverage
from kvchaos.report.finding_lines import cause_lines
from kvchaos.report.html.backdrop import Backdrop, backdrop
from kvchaos.report.html.chart import NO_DATA, Chart
from kvchaos.report.html.counter_charts import counter_charts
from kvchaos.report.html.fault_rows import FaultRow, fault_rows
from kvchaos.report.html.finding_links import EvidenceLinks, evidence_links_of
from kvchaos.report.html.lanes import Lanes, lane_keys, lanes
from kvchaos.report.html.log_times import LogTimes
from kvchaos.report.html.number_format import byte_size, exact, seconds
from kvchaos.report.html.oracle_rows import OracleRow, oracle_rows
from kvchaos.report.html.phase_table import PhaseTable, phase_table
from kvchaos.report.html.run_charts import charts
from oracles.offload import PREEMPTIONS, loaded_bytes
from oracles.views.timeline import NS_PER_S, final_total

FILES = (
    (layout.VERDICT, "the verdict with every finding, for machines"),
    (layout.SUMMARY, "the same for the page of a CI job"),
    (layout.JUNIT, "the same as test cases"),
    (layout.PLAN, "the resolved plan: all that was run"),
    (layout.EVENTS, "phases, canaries, arming and healing, life of the server"),
    (layout.METRICS, "every scrape of the server's metrics"),
    (layout.SERVER_LOG, "the server's log, untouched"),
    (layout.SEALS, "the digest of each file that judging reads"),
    (layout.CONTROL, "fault journals and ledgers from inside the server"),
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure that characterises the run."""

    name: str
    value: str


@dataclass(frozen=True)
class PageDrawings:
    """The drawings of a history."""

    drop: Backdrop
    charts: list[Chart]
    counters: list[Chart]
    phases: PhaseTable
    faults: list[FaultRow]
    coverage: Grid
    lanes: Lanes
    evidence_links: dict[int, EvidenceLinks]
    """By the number of the finding."""


@dataclass(frozen=True)
class ReportPage:
    """The whole page."""

    plan: RunPlan
    verdict: RunVerdict
    rows: list[OracleRow]
    facts: list[Fact] = field(default_factory=list)
    drawn: PageDrawings | None = None
    undrawn: str = ""
    """Why nothing could be drawn."""

    @property
    def causes(self) -> list[str]:
        return cause_lines(self.verdict)


def full_page(history: History, verdict: RunVerdict) -> ReportPage:
    """The page of a history; missing data is shown as missing."""
    times = LogTimes(history.log, history.events[0].t_ns)
    rows = oracle_rows(history, verdict, times)
    findings = [finding for row in rows for finding in row.findings]
    drop = backdrop(history, findings)
    shown = lanes(history, findings, drop.axis)
    counters = counter_charts(history.metrics, findings, drop.axis)
    keys, counter_keys = lane_keys(shown), {metric: chart.key for metric, chart in counters.items()}
    return ReportPage(
        plan=history.plan,
        verdict=verdict,
        rows=rows,
        facts=facts(history),
        drawn=PageDrawings(
            drop=drop,
            charts=charts(history, drop.axis),
            counters=list(counters.values()),
            phases=phase_table(history),
            faults=fault_rows(history, drop, verdict.effects),
            coverage=coverage(history),
            lanes=shown,
            evidence_links={
                finding.number: evidence_links_of(finding, drop.axis, keys, counter_keys, times)
                for finding in findings
            },
        ),
    )


def bare_page(history: History, verdict: RunVerdict, why: str) -> ReportPage:
    """The verdict alone, for a history that cannot be drawn."""
    return ReportPage(history.plan, verdict, oracle_rows(history, verdict, LogTimes([], 0)), undrawn=why)


def facts(history: History) -> list[Fact]:
    """The run in a few figures."""
    outcomes: Counter[str] = Counter(record.outcome for record in history.requests)
    preempted = final_total(history, PREEMPTIONS)
    loaded = loaded_bytes(lambda metric, **labels: final_total(history, metric, **labels))
    fired = sum(record.event == "fired" for record in history.faults)
    planned = len(history.plan.scenario.faults)
    span = (history.events[-1].t_ns - history.events[0].t_ns) / NS_PER_S
    return [
        Fact("requests", f"{len(history.requests)}: {_outcomes(outcomes)}" if outcomes else NO_DATA),
        Fact("faults", f"{planned} planned, fired {fired} in all" if planned else "none planned"),
        Fact("preemptions", NO_DATA if preempted is None else exact(preempted)),
        Fact("loaded from the offload tier", NO_DATA if loaded is None else byte_size(loaded)),
        Fact("scrapes", f"{len(history.metrics)}, {len(history.metrics.failures)} failed"),
        Fact("lasted", seconds(span)),
    ]


def _outcomes(counts: Counter[str]) -> str:
    return ", ".join(
        f"{counts[kind]} {label}"
        for kind, label in (("ok", "ok"), ("error", "failed"), ("aborted", "aborted"), ("unknown", "unknown"))
        if counts[kind]
    )
