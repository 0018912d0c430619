"""The verdict of a run as text: a finding as one line, summary.md for a CI job, the JUnit file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from history.plan import RunPlan
from history.scaling import pressure_text
from history.seals import Sealed
from history.verdict import BugResult, Cause, Finding, OracleResult, Outcome, RunVerdict, Verdict
from kvchaos.judging.outcome import ExpectationMatch, match_expectation
from kvchaos.report.text_tables import cell_text

NS_PER_S = 1_000_000_000


def finding_text(finding: Finding) -> str:
    """A finding as text: its sentence, its rule and its evidence.

    Evidence is a request, a metric with its samples, or a log line.
    """
    parts: list[str] = [finding.rule]
    # The sentence often names the request or metric already.
    if finding.request is not None and finding.request not in finding.text:
        parts.append(f"request {finding.request}")
    if finding.metric is not None and finding.metric not in finding.text:
        parts.append(finding.metric)
    if finding.samples:
        parts.append(" -> ".join(f"{value:.12g} at {clock(t_ns)}" for t_ns, value in finding.samples))
    elif finding.t_ns is not None:
        parts.append(f"at {clock(finding.t_ns)}")
    if finding.log_line is not None:
        parts.append(f"server.log line {finding.log_line}")
    if finding.explained_by is not None:
        parts.append(f"explained by fault {finding.explained_by}")
    return f"{finding.text} [{'; '.join(parts)}]"


def evidence_lines(result: OracleResult, most: int | None = None) -> list[str]:
    """The summary where there is no violation, else the first findings and how many more there are."""
    if not result.findings:
        return [result.summary]
    shown = result.findings[:most]
    lines = [finding_text(finding) for finding in shown]
    more = result.violations - len(shown)
    return [*lines, f"and {more} more"] if more > 0 else lines


def cause_lines(verdict: RunVerdict) -> list[str]:
    """A line for each cause, then one for each known bug that could show.

    The line of a cause has its signature, what explains it and what follows from it.
    """
    references = {bug.id: bug.reference for bug in verdict.bugs}
    causes = [
        f"cause: {cause.signature}{_explained(cause, references)}{_follow(cause)}" for cause in verdict.causes
    ]
    return causes + [bug_text(bug) for bug in verdict.bugs]


def _explained(cause: Cause, references: Mapping[str, str]) -> str:
    parts = []
    if cause.known_bugs:
        parts.append(f"; known bug {', '.join(references.get(name, name) for name in cause.known_bugs)}")
    if cause.explained_by:
        parts.append(f"; explained by fault {', '.join(cause.explained_by)}")
    return "".join(parts) or ("; not explained by a known bug or a fault" if cause.unexplained else "")


def _follow(cause: Cause) -> str:
    rules = ", ".join(f"{rule} ({count})" for rule, count in cause.follow.items())
    follow = f"; from it follow {rules}" if rules else ""
    return follow + (
        f"; it leaves inconclusive {', '.join(cause.inconclusive)}" if cause.inconclusive else ""
    )


def bug_text(bug: BugResult) -> str:
    """One line: the bug, its mechanism and link; or that it did not show."""
    name = f"known bug {bug.reference} ({bug.title})"
    if bug.missing:
        return f"{name} must break {', '.join(bug.missing)} here, but did not.{_link(bug)}"
    if not bug.explains:
        return f"{name} can show here, but did not.{_link(bug)}"
    findings = ", ".join(f"{rule} ({count})" for rule, count in bug.explains.items())
    return f"{name} explains {findings}. {bug.mechanism}{_link(bug)}"


def _link(bug: BugResult) -> str:
    return f" See {bug.link}" if bug.link else ""


def clock(t_ns: int) -> str:
    """Wall clock time in UTC to the millisecond."""
    moment = datetime.fromtimestamp(t_ns // NS_PER_S, UTC)
    return f"{moment:%H:%M:%S}.{t_ns % NS_PER_S // 1_000_000:03d}Z"


SYMBOLS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}
OUTCOME_SYMBOLS: dict[Outcome, str] = {"as expected": "✓", "not as expected": "✗", "unknown": "?"}
SEAL_TEXTS: dict[Sealed, str] = {
    "sealed": "sealed: no file has changed since the run",
    "resealed": "sealed again by kvchaos reseal, not by the run",
    "unsealed": "not sealed: changes of the files since the run cannot be detected",
    "broken": "seal broken: a file has changed since the run",
}
MAX_EVIDENCE = 3
"""Lines of evidence an oracle; the verdict file has more."""


def summary_text(plan: RunPlan, verdict: RunVerdict) -> str:
    """Outcome and reasons, a table of oracles with evidence, versions, and how to repeat the run."""
    lines = [f"## {verdict.scenario} on {verdict.server}: {verdict.outcome}", "", plan.scenario.summary, ""]
    if verdict.reasons:
        lines += [*(f"- {cell_text(reason)}" for reason in verdict.reasons), ""]
    if causes := cause_lines(verdict):
        lines += [*(f"- {cell_text(line)}" for line in causes), ""]
    lines += ["| oracle | verdict | compared | evidence |", "|---|---|---|---|"]
    for result in verdict.results:
        evidence_texts = evidence_lines(result)
        shown = evidence_texts[:MAX_EVIDENCE] + (["..."] if len(evidence_texts) > MAX_EVIDENCE else [])
        evidence = "<br>".join(cell_text(line) for line in shown)
        mark = f"{SYMBOLS[result.verdict]} {result.verdict}"
        stands = match_expectation(result, plan.expectation, verdict.causes)
        lines.append(f"| {result.oracle} | {mark} | {stands} | {evidence} |")
    lines += [
        "",
        *(f"- {cell_text(line)}" for line in version_lines(plan)),
        f"- {SEAL_TEXTS[verdict.seal]}",
        "",
        "Repeat the run:",
        "",
        f"    {repeat_command(plan)}",
    ]
    return "\n".join(lines) + "\n"


def repeat_command(plan: RunPlan) -> str:
    """The command that runs the same scenario on the same server with the same seed."""
    release = f" --as-release {plan.as_release}" if plan.as_release else ""
    scale = f" --scale {plan.scaling.scale}" if plan.scaling else ""
    server = plan.versions.server_name
    return f"kvchaos run {plan.scenario.name} --server {server} --seed {plan.seed}{scale}{release}"


def version_lines(plan: RunPlan) -> list[str]:
    """Everything that answers "what exactly ran?"."""
    versions = plan.versions
    judged_as = f", judged as release {plan.as_release}" if plan.as_release else ""
    return [
        f"run {plan.run_id}, seed {plan.seed}, {plan.created}",
        f"vLLM {versions.vllm}{judged_as}, torch {versions.torch}, Python {versions.python}",
        f"kvchaos {versions.kvchaos} ({versions.git}), model {versions.model[:12]}",
        versions.host,
        *scale_lines(plan),
        *server_lines(plan),
    ]


def scale_lines(plan: RunPlan) -> list[str]:
    """How much larger than in its file the scenario was, and how it pressed on the caches."""
    if plan.scaling is None:
        return []
    scaling = plan.scaling
    return [
        f"scale {scaling.scale}: lengths x {scaling.lengths}, width x {scaling.width}; "
        f"{pressure_text(scaling.pressure)}"
    ]


def server_lines(plan: RunPlan) -> list[str]:
    """Whom the server had served before, or why it was started."""
    if plan.preceded_by:
        return [f"server kept from {plan.preceded_by[-1]}; earlier runs on it: {', '.join(plan.preceded_by)}"]
    if plan.fresh_because is not None:
        return [f"server started for this run: {plan.fresh_because}"]
    return []


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
        why = f"ignored, since the expected failure ({issue}) can bring it along; it reports {result.verdict}"
        ET.SubElement(case, "skipped", message=clean(why))
        ET.SubElement(case, "system-out").text = evidence
    elif stands is ExpectationMatch.FOLLOWS:
        ET.SubElement(case, "skipped", message=clean(f"{stands}; it reports {result.verdict}"))
        ET.SubElement(case, "system-out").text = evidence
    else:
        heading = (
            f"{result.verdict}, {stands}: " if stands is ExpectationMatch.EXPLAINED else f"{result.verdict}: "
        )
        ET.SubElement(case, "system-out").text = clean(heading) + evidence


def clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return FORBIDDEN.sub("?", text)
