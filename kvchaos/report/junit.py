"""The verdict of a run as a JUnit file: one test suite a run, one test case an oracle."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from history.plan import RunPlan
from history.verdict import OracleResult, RunVerdict
from kvchaos.judging.expectation import ExpectationMatch, match_expectation
from kvchaos.report.finding_lines import cause_lines, evidence_lines

# XML 1.0 has no way to write these, and server logs hold them (colour codes, for example).
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(plan: RunPlan, verdict: RunVerdict) -> str:
    """A finding that was expected passes with its text; not as expected is a failure; unknown an error.

    The case "run" stands for the outcome of the whole, so that a run that was cut short is never green.
    """
    title = f"{verdict.scenario} on {verdict.server}, seed {verdict.seed}"
    suite = ET.Element("testsuite", name=clean(title))
    cases = [_case(suite, verdict, "run")]
    _fill_run_case(cases[0], verdict)
    for result in verdict.results:
        case = _case(suite, verdict, result.oracle)
        stands = match_expectation(result, plan.expectation, verdict.causes)
        _fill_oracle_case(case, result, stands, plan.expectation.issue)
        cases.append(case)
    suite.set("tests", str(len(cases)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("timestamp", clean(plan.created))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ET.Element, verdict: RunVerdict, name: str) -> ET.Element:
    classname = clean(f"kvchaos.{verdict.scenario}.{verdict.server}")
    return ET.SubElement(suite, "testcase", classname=classname, name=name)


def _fill_run_case(case: ET.Element, verdict: RunVerdict) -> None:
    text = "\n".join((*verdict.reasons, *cause_lines(verdict)))
    if verdict.outcome == "as expected":
        ET.SubElement(case, "system-out").text = clean(text or "as expected")
        return
    tag = "failure" if verdict.outcome == "not as expected" else "error"
    ET.SubElement(case, tag, message=verdict.outcome, type=verdict.outcome).text = clean(text)


def _fill_oracle_case(
    case: ET.Element, result: OracleResult, stands: ExpectationMatch, issue: str | None
) -> None:
    evidence = clean("\n".join(evidence_lines(result)))
    message = clean(result.summary)
    if stands is ExpectationMatch.NOT_EXPECTED:
        ET.SubElement(case, "failure", message=message, type=str(result.verdict)).text = evidence
    elif stands is ExpectationMatch.UNKNOWN:
        ET.SubElement(case, "error", message=message, type=str(result.verdict)).text = evidence
    elif stands is ExpectationMatch.IGNORED:
        why = f"does not count: the expected failure ({issue}) takes it along; it says {result.verdict}"
        ET.SubElement(case, "skipped", message=clean(why))
        ET.SubElement(case, "system-out").text = evidence
    elif stands is ExpectationMatch.FOLLOWS:
        ET.SubElement(case, "skipped", message=clean(f"{stands}; it says {result.verdict}"))
        ET.SubElement(case, "system-out").text = evidence
    else:
        heading = (
            f"{result.verdict}, {stands}: " if stands is ExpectationMatch.EXPLAINED else f"{result.verdict}: "
        )
        ET.SubElement(case, "system-out").text = clean(heading) + evidence


def clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return FORBIDDEN.sub("?", text)
