"""From the page as data to one file of HTML that needs no network.

Everything that comes from a run is escaped by the template engine; and the page's own policy lets a browser
run no script and take no style but ours, should anything ever slip through.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from history.reader import History
from history.verdict import Outcome, RunVerdict
from kvchaos.judging.expectation import ExpectationMatch
from kvchaos.report.coverage import STATES
from kvchaos.report.finding_lines import clock
from kvchaos.report.html.page_model import FILES, PageDrawings, ReportPage, bare_page, full_page
from kvchaos.report.junit import clean
from kvchaos.report.summary import OUTCOME_SYMBOLS, SEAL_TEXTS, repeat_command, version_lines

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
    """The outcome in a sentence for somebody who knows nothing of the run."""
    if verdict.outcome == "not as expected":
        return "Something differs from what this release is expected to do."
    if verdict.outcome == "unknown":
        return "This run proves nothing: something could not be judged."
    if verdict.expected_failures:
        return f"It failed, and only in the way that it must here ({verdict.issue})."
    if any(effect.explains for effect in verdict.effects):
        return "It failed, and only as its faults were declared to make it."
    return "All that must hold was checked and holds."


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
