"""report.html: all that the page shows as data, and from that one file that needs no network.

The template engine escapes everything that comes from a run. As a second barrier the page's content security
policy allows only our own scripts and styles.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from history import layout
from history.plan import RunPlan
from history.reader import History
from history.verdict import Outcome, RunVerdict
from kvchaos.judging.outcome import ExpectationMatch
from kvchaos.report.history_tables import STATES, Grid, coverage
from kvchaos.report.html.axis import byte_size, exact, seconds
from kvchaos.report.html.backdrop import Backdrop, backdrop
from kvchaos.report.html.chart import NO_DATA, Chart
from kvchaos.report.html.lanes import Lanes, lane_keys, lanes
from kvchaos.report.html.oracle_rows import EvidenceLinks, LogTimes, OracleRow, evidence_links_of, oracle_rows
from kvchaos.report.html.page_tables import FaultRow, PhaseTable, fault_rows, phase_table
from kvchaos.report.html.run_charts import charts
from kvchaos.report.html.time_charts import counter_charts
from kvchaos.report.verdict_text import (
    OUTCOME_SYMBOLS,
    SEAL_TEXTS,
    cause_lines,
    clean,
    clock,
    repeat_command,
    version_lines,
)
from oracles.offload import PREEMPTIONS
from oracles.views.counter_growth import loaded_bytes
from oracles.views.timeline import NS_PER_S, final_total

FILES = (
    (layout.VERDICT, "the verdict with every finding, for machines"),
    (layout.SUMMARY, "the same, for the page of a CI job"),
    (layout.JUNIT, "the same as test cases"),
    (layout.PLAN, "the resolved plan of the run"),
    (layout.EVENTS, "phases, probes, arming and healing, starts and exits of the server"),
    (layout.METRICS, "every scrape of the server's metrics"),
    (layout.SERVER_LOG, "the server's log, unchanged"),
    (layout.SEALS, "the digest of each file that judging reads"),
    (layout.CONTROL, "fault journals and transfer audit from inside the server"),
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
    """Links by the number of the finding."""


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
        """Causes and known bugs as lines of text."""
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
        Fact("faults", f"{planned} planned, {fired} firings" if planned else "none planned"),
        Fact("preemptions", NO_DATA if preempted is None else exact(preempted)),
        Fact("loaded from the CPU tier", NO_DATA if loaded is None else byte_size(loaded)),
        Fact("scrapes", f"{len(history.metrics)}, {len(history.metrics.failures)} failed"),
        Fact("duration", seconds(span)),
    ]


def _outcomes(counts: Counter[str]) -> str:
    return ", ".join(
        f"{counts[kind]} {label}"
        for kind, label in (("ok", "ok"), ("error", "failed"), ("aborted", "aborted"), ("unknown", "unknown"))
        if counts[kind]
    )


DRAWING_ERRORS = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError)
"""Errors that an unusual history may cause while drawing; the verdict is shown all the same."""
FOLDER = "templates"
OUTCOME_CLASSES: dict[Outcome, str] = {
    "as expected": "as-expected",
    "not as expected": "not-as-expected",
    "unknown": "unknown",
}
STANDING_CLASSES: dict[str, str] = {
    ExpectationMatch.EXPECTED: "as-expected",
    ExpectationMatch.NOT_EXPECTED: "not-as-expected",
    ExpectationMatch.UNKNOWN: "unknown",
    ExpectationMatch.EXPLAINED: "as-expected",
    ExpectationMatch.FOLLOWS: "ignored",
    ExpectationMatch.IGNORED: "ignored",
}


def report_html(history: History, verdict: RunVerdict) -> str:
    """The report of a run. Pure: the same history and verdict give the same page."""
    try:
        page = full_page(history, verdict)
    except DRAWING_ERRORS as error:
        page = bare_page(
            history, verdict, f"this history could not be drawn: {type(error).__name__}: {error}"
        )
    return render(page)


def render(page: ReportPage) -> str:
    """The page as HTML."""
    style, script = resource("style.css"), resource("script.js")
    text = (
        environment()
        .get_template("page.html")
        .render(
            page=page,
            style=Markup(style),
            script=Markup(script),
            style_hash=source_hash(style),
            script_hash=source_hash(script),
            outcome_symbol=OUTCOME_SYMBOLS[page.verdict.outcome],
            outcome_class=OUTCOME_CLASSES[page.verdict.outcome],
            standing_classes=STANDING_CLASSES,
            meaning=meaning(page.verdict),
            zero_clock=clock(page.drawn.drop.axis.zero_ns) if page.drawn else "",
            repeat=repeat_command(page.plan),
            versions=[*version_lines(page.plan), SEAL_TEXTS[page.verdict.seal]],
            files=FILES,
            states=STATES,
            readings=readings(page.drawn) if page.drawn else {},
        )
    )
    return clean(text)


@cache
def environment() -> Environment:
    """Kept, since reading the templates takes longer than filling them."""
    environment = Environment(
        loader=PackageLoader("kvchaos.report.html", FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"coordinate": coordinate, "anchor": anchor}
    return environment


def meaning(verdict: RunVerdict) -> str:
    """The outcome in a sentence for a reader who does not know the run."""
    if verdict.outcome == "not as expected":
        return "A result differs from what is expected of this release."
    if verdict.outcome == "unknown":
        return "Something could not be judged, so this run proves nothing."
    if verdict.expected_failures:
        return f"All violations are expected here ({verdict.issue})."
    if any(effect.explains for effect in verdict.effects):
        return "All violations are declared effects of its faults."
    return "All rules were checked, and all hold."


def readings(drawn: PageDrawings) -> dict[str, object]:
    """The figures that the charts show when pointed at."""
    axis = drawn.drop.axis
    return {
        "start": axis.seconds(axis.start_ns),
        "end": axis.seconds(axis.end_ns),
        "charts": {
            chart.key: [
                {"label": line.label, "points": line.readings} for line in chart.lines if line.readings
            ]
            for chart in (*drawn.charts, *drawn.counters)
        },
    }


def coordinate(value: float) -> str:
    """A coordinate with as many digits as are visible."""
    return f"{value:.5g}"


def anchor(at: float) -> str:
    """The text anchor that keeps a label at this position within the drawing."""
    return "start" if at < 4 else "end-at" if at > 96 else "middle"


def source_hash(text: str) -> str:
    """The hash by which the page's policy knows a style or script of ours."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def resource(name: str) -> str:
    """A style or script of ours."""
    return (resources.files("kvchaos.report.html") / FOLDER / name).read_text(encoding="utf-8")
