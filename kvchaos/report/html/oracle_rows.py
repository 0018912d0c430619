"""The oracles of a run with their findings, each with a number of its own and the time it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from history.finding import Finding
from history.reader import History
from history.records import RequestRecord
from history.verdict import OracleResult, RunVerdict, Verdict
from kvchaos.judging.expectation import ExpectationMatch, expected_oracles, match_expectation
from kvchaos.report.finding_lines import finding_text
from kvchaos.report.html.log_times import LogTimes
from kvchaos.report.summary import SYMBOLS
from oracles import ORACLES
from oracles.views.timeline import end_ns

COMPARED = {
    ExpectationMatch.EXPECTED: "as expected",
    ExpectationMatch.NOT_EXPECTED: "not as expected",
    ExpectationMatch.UNKNOWN: "could not be judged",
    ExpectationMatch.EXPLAINED: "explained by a fault",
    ExpectationMatch.FOLLOWS: "follows from another finding",
    ExpectationMatch.IGNORED: "does not count here",
}


@dataclass(frozen=True, slots=True)
class FindingTime:
    """The time of a finding, and a text that says what this time is."""

    t_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class NumberedFinding:
    """A finding, numbered through the whole report."""

    number: int
    oracle: str
    finding: Finding
    time: FindingTime | None

    @property
    def t_ns(self) -> int | None:
        return None if self.time is None else self.time.t_ns

    @property
    def text(self) -> str:
        return finding_text(self.finding)


@dataclass(frozen=True, slots=True)
class OracleRow:
    """The verdict of one oracle with its evidence."""

    name: str
    purpose: str
    verdict: Verdict
    symbol: str
    standing: ExpectationMatch
    expected_to_fail: bool
    summary: str
    checked: int
    findings: list[NumberedFinding]
    more: int
    """Violations beyond the findings that were kept."""

    @property
    def compared(self) -> str:
        if self.expected_to_fail and self.standing is ExpectationMatch.EXPECTED:
            return "was expected to fail"
        if self.expected_to_fail and self.standing is ExpectationMatch.NOT_EXPECTED:
            return "was expected to fail, and did not"
        return COMPARED[self.standing]


def oracle_rows(history: History, verdict: RunVerdict, times: LogTimes) -> list[OracleRow]:
    """One row a result, in the order of the verdict; the findings are numbered from 1."""
    purposes = {oracle.name: oracle.purpose for oracle in ORACLES}
    named = {finding.request for result in verdict.results for finding in result.findings}
    records = {record.id: record for record in history.requests if record.id in named}
    rows: list[OracleRow] = []
    numbered = 0
    for result in verdict.results:
        findings = [
            NumberedFinding(
                number,
                result.oracle,
                finding,
                finding_time(finding, records.get(finding.request or ""), times),
            )
            for number, finding in enumerate(result.findings, start=numbered + 1)
        ]
        numbered += len(findings)
        rows.append(_row(history, verdict, result, purposes.get(result.oracle, ""), findings))
    return rows


def _row(
    history: History,
    verdict: RunVerdict,
    result: OracleResult,
    purpose: str,
    findings: list[NumberedFinding],
) -> OracleRow:
    expectation = history.plan.expectation
    return OracleRow(
        name=result.oracle,
        purpose=purpose,
        verdict=result.verdict,
        symbol=SYMBOLS[result.verdict],
        standing=match_expectation(result, expectation, verdict.causes),
        expected_to_fail=result.oracle in expected_oracles(expectation),
        summary=result.summary,
        checked=result.checked,
        findings=findings,
        more=max(result.violations - len(findings), 0),
    )


def finding_time(finding: Finding, record: RequestRecord | None, times: LogTimes) -> FindingTime | None:
    """At its last sample, else the end of its request where that failed, else its own time, else that of its
    log line. `record` is the request that the finding names."""
    if finding.samples:
        return FindingTime(finding.samples[-1][0], "last sample at")
    if record is not None and record.outcome in ("error", "unknown"):
        return FindingTime(end_ns(record), "its request ended at")
    if finding.t_ns is not None:
        began = record is not None and finding.t_ns == record.start_ns
        return FindingTime(finding.t_ns, "its request began at" if began else "at")
    t_ns = times.moment(finding.log_line) if finding.log_line is not None else None
    return None if t_ns is None else FindingTime(t_ns, "by the log, which tells seconds only, about")
