"""What a night leaves for a CI system: summary.md, a JUnit file, and metrics in OpenMetrics text. Pure."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from kvchaos.nightly.job.job_outcome import MEANING, OF_THE_SERVER, JobOutcome
from kvchaos.nightly.night_headlines import build_text
from kvchaos.nightly.night_records import Night, NightPoint
from kvchaos.report.text_tables import cell_text
from kvchaos.report.verdict_text import clean
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.stability.stability_summary import repeat_command

ORDER = ("regressed", "blind", "improved", "same")


def summary_text(outcome: JobOutcome, night: Night | None, of_page: str) -> str:
    """The summary of the job: how it ended, then the summary that the page's command wrote."""
    lines = [f"# Night: {MEANING[outcome.category]}", ""]
    if outcome.detail:
        lines += [cell_text(clean(outcome.detail)), ""]
    lines += ["No night was stored." if night is None else _builds(night), ""]
    return "\n".join([*lines, of_page])


def junit_text(
    outcome: JobOutcome,
    night: Night | None,
    points: Sequence[NightPoint],
    stability: StabilityReport | None = None,
) -> str:
    """A case for the job, each watched series, the positive control and each signature of tonight.

    Regressed is a failure, blind an error. A signature that a known bug explains passes.
    """
    suite = ET.Element("testsuite", name="kvchaos nightly")
    _fill(_case(suite, "job", "night"), outcome)
    for point in _watched(points):
        case = _case(suite, "series", point.series)
        result = point.decision.result if point.decision else "blind"
        tag = {"regressed": "failure", "blind": "error"}.get(result, "system-out")
        text = ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, _row(point)[1:], strict=True))
        element = ET.SubElement(case, tag)
        element.text = clean(text)
        if tag != "system-out":
            element.set("message", result)
    if stability is not None:
        _add_stability(suite, stability)
    for count, tag in (("tests", ""), ("failures", "failure"), ("errors", "error")):
        cases = suite.findall("testcase")
        suite.set(count, str(sum(not tag or case.find(tag) is not None for case in cases)))
    if night is not None:
        suite.set("timestamp", night.night)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _add_stability(suite: ET.Element, report: StabilityReport) -> None:
    control = _case(suite, "stability", "positive control")
    result = report.night.positive_control
    if result != "found":
        ET.SubElement(control, "failure", message=result)
    for each in report.tracked:
        if each.tonight:
            case = _case(suite, "signature", each.signature)
            explained = not each.latest.unexplained
            element = ET.SubElement(case, "system-out" if explained else "failure")
            element.text = clean(f"{each.state}, {each.tonight} runs tonight\n{repeat_command(each)}")
            if not explained:
                element.set("message", each.state)


COLUMNS = ("result", "control", "candidate", "slowdown", "visible from")


def metrics_text(points: Sequence[NightPoint]) -> str:
    """Candidate over control of each watched series, in OpenMetrics text."""
    name = "kvchaos_nightly_slowdown_ratio"
    lines = [
        f"# HELP {name} Slowdown of the candidate: 1.05 is 5 % slower than the control.",
        f"# TYPE {name} gauge",
    ]
    for point in _watched(points):
        if point.decision is not None and point.decision.slowdown is not None:
            ratio = math.exp(point.decision.slowdown)
            lines.append(f'{name}{{series="{_label(point.series)}"}} {ratio:.4f}')
    return "\n".join([*lines, "# EOF", ""])


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _watched(points: Sequence[NightPoint]) -> list[NightPoint]:
    """Those that decide, the worst first."""
    deciding = [point for point in points if point.decision is not None]
    return sorted(deciding, key=lambda point: (_rank(point), point.series))


def _rank(point: NightPoint) -> int:
    return ORDER.index(point.decision.result) if point.decision is not None else 0


def _row(point: NightPoint) -> list[str]:
    decision = point.decision
    return [
        point.series,
        decision.result if decision else "-",
        f"{point.control:.4g} {point.unit}",
        f"{point.candidate:.4g} {point.unit}",
        _percent(decision.slowdown if decision else None, "+.1f"),
        _percent(decision.visible_step if decision else None, ".1f"),
    ]


def _percent(step: float | None, form: str) -> str:
    """A logarithm of a ratio as a percentage."""
    return "-" if step is None else f"{math.expm1(step) * 100:{form}} %"


def _builds(night: Night) -> str:
    started = f"started {night.night}, budget {night.budget_s / 60:.0f} min"
    if night.kind == "control":
        return f"Control {build_text(night.control)} against itself, {started}"
    candidate, control = build_text(night.candidate), build_text(night.control)
    return f"Candidate {candidate} against control {control}, {started}"


def _case(suite: ET.Element, group: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"kvchaos.nightly.{group}", name=clean(name))


def _fill(case: ET.Element, outcome: JobOutcome) -> None:
    if outcome.category == "none":
        return
    tag = "failure" if outcome.category in OF_THE_SERVER else "error"
    element = ET.SubElement(case, tag, message=outcome.category)
    element.text = clean(outcome.detail or MEANING[outcome.category])
