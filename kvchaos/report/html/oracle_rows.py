"""The oracles of a run with their findings: number, time, links to the evidence, lines of the log.

vLLM stamps its lines with month, day and local time, without year and zone: both come from the run's events.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from history.protocol.extensions import OWN
from history.reader import History
from history.records import RequestRecord
from history.verdict import Finding, OracleResult, RunVerdict, Verdict
from kvchaos.judging.outcome import ExpectationMatch, expected_oracles, match_expectation
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.verdict_text import SYMBOLS, clock, finding_text
from oracles import ORACLES, ORIGINS
from oracles.findings import Oracle
from oracles.views.timeline import NS_PER_S, end_ns

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
        """Time of the finding, wall clock ns; None when it has none."""
        return None if self.time is None else self.time.t_ns

    @property
    def text(self) -> str:
        """The finding as a sentence."""
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
        """How the verdict compares with the expectation."""
        if self.expected_to_fail and self.standing is ExpectationMatch.EXPECTED:
            return "must fail, and did"
        if self.expected_to_fail and self.standing is ExpectationMatch.NOT_EXPECTED:
            return "must fail, but did not"
        return COMPARED[self.standing]


def _purpose(oracle: Oracle) -> str:
    """What an oracle watches, and its package where that is another one than the suite."""
    origin = ORIGINS[oracle.name]
    return oracle.purpose if origin == OWN else f"{oracle.purpose} (from {origin})"


def oracle_rows(history: History, verdict: RunVerdict, times: LogTimes) -> list[OracleRow]:
    """One row a result, in the order of the verdict; the findings are numbered from 1."""
    purposes = {oracle.name: _purpose(oracle) for oracle in ORACLES}
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
    """Time of a finding; None when nothing gives one.

    The time of its last sample, the end of its failed request, its own time, or that of its log line, in this
    order. `record` is the request that the finding names.
    """
    if finding.samples:
        return FindingTime(finding.samples[-1][0], "last sample at")
    if record is not None and record.outcome in ("error", "unknown"):
        return FindingTime(end_ns(record), "its request ended at")
    if finding.t_ns is not None:
        began = record is not None and finding.t_ns == record.start_ns
        return FindingTime(finding.t_ns, "its request began at" if began else "at")
    t_ns = times.moment(finding.log_line) if finding.log_line is not None else None
    return None if t_ns is None else FindingTime(t_ns, "according to the log (to the second) about")


NO_LINES = "the server's log has no line of that time"
NO_TIME = "the time is not known, so no log line is shown"


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link to another part of the page."""

    target: str
    text: str


@dataclass(frozen=True, slots=True)
class EvidenceLinks:
    """Time, links and log lines that lead from a finding to its evidence."""

    when: str
    """The time in seconds of the run and by wall clock, with its meaning; empty when no time is known."""
    links: list[PageLink]
    log: list[LogLine]
    log_note: str
    """Which lines these are, or why there are none."""


def evidence_links_of(
    finding: NumberedFinding,
    axis: TimeAxis,
    lanes: Mapping[str, str],
    counters: Mapping[str, str],
    times: LogTimes,
) -> EvidenceLinks:
    """`lanes` and `counters` give the element ids of requests and of metrics."""
    lines, note = _log(finding, times)
    return EvidenceLinks(_when(finding, axis), _links(finding, lanes, counters), lines, note)


def _when(finding: NumberedFinding, axis: TimeAxis) -> str:
    if finding.time is None:
        return ""
    t_ns = finding.time.t_ns
    return f"{finding.time.what} {axis.seconds(t_ns):.2f} s, {clock(t_ns)}"


def _links(finding: NumberedFinding, lanes: Mapping[str, str], counters: Mapping[str, str]) -> list[PageLink]:
    links: list[PageLink] = []
    located = finding.finding
    if finding.t_ns is not None:
        links.append(PageLink("timeline", "on the timeline"))
    if located.request is not None and located.request in lanes:
        links.append(PageLink(lanes[located.request], "its request"))
    if located.metric is not None and located.metric in counters:
        links.append(PageLink(counters[located.metric], "its counter"))
    return links


def _log(finding: NumberedFinding, times: LogTimes) -> tuple[list[LogLine], str]:
    number = finding.finding.log_line
    if number is not None:
        return times.around(number), f"server.log around line {number}"
    if finding.t_ns is None:
        return [], NO_TIME
    lines = times.near(finding.t_ns)
    return lines, f"server.log about {clock(finding.t_ns)}" if lines else NO_LINES


STAMP = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
SCRAPE = re.compile(r'"GET /(?:metrics|health) HTTP/[\d.]+" 200')
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
QUARTER_S = 900
BEFORE, AFTER = 3, 8
"""Lines shown around a line."""
MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an excerpt."""

    number: int
    text: str
    marked: bool = False


class LogTimes:
    """The lines of a log with their times, as far as they are known.

    A line without a timestamp has that of the line before.
    """

    def __init__(self, lines: Sequence[str], start_ns: int) -> None:
        self._lines = lines
        self._numbers: list[int] = []
        self._times: list[int] = []
        shift: int | None = None
        # Lines about answered requests have no stamp and are mostly the same.
        stamps = {line: _stamp(line, start_ns) for line in set(lines)}
        for number, line in enumerate(lines, start=1):
            stamp_ns = stamps[line]
            if stamp_ns is None:
                continue
            if shift is None:
                shift = round((stamp_ns - start_ns) / NS_PER_S / QUARTER_S) * QUARTER_S * NS_PER_S
            self._numbers.append(number)
            # Several processes write the log: a later line may have an earlier stamp.
            self._times.append(max(stamp_ns - shift, self._times[-1] if self._times else 0))

    def moment(self, number: int) -> int | None:
        """Wall clock time of a line, ns: the middle of its second. None where no line so far has a stamp."""
        index = bisect_left(self._numbers, number + 1) - 1
        return self._times[index] + NS_PER_S // 2 if index >= 0 else None

    def around(self, number: int) -> list[LogLine]:
        """The lines around a line, that one marked."""
        first, last = max(number - BEFORE, 1), min(number + AFTER, len(self._lines))
        return [self._line(n, number) for n in range(first, last + 1)]

    def near(self, t_ns: int) -> list[LogLine]:
        """The nearest lines within two seconds of a moment; none where there are none.

        Lines about the suite's own scrapes are left out.
        """
        since = bisect_left(self._times, t_ns - 2 * NS_PER_S)
        until = bisect_left(self._times, t_ns + 2 * NS_PER_S)
        if since == until:
            return []
        after = self._numbers[until] if until < len(self._numbers) else len(self._lines) + 1
        numbers = [n for n in range(self._numbers[since], after) if SCRAPE.search(self._lines[n - 1]) is None]
        now = self._numbers[max(bisect_left(self._times, t_ns) - 1, since)]
        middle = bisect_left(numbers, now)
        return [self._line(n, None) for n in numbers[max(middle - BEFORE, 0) : middle + AFTER]]

    def _line(self, number: int, marked: int | None) -> LogLine:
        text = COLOUR.sub("", self._lines[number - 1])
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]} ..."
        return LogLine(number, text, number == marked)


def _stamp(line: str, near_ns: int) -> int | None:
    """The stamp of a line as if it were UTC, in the year that brings it nearest."""
    found = STAMP.search(line)
    if found is None:
        return None
    month, day, hour, minute, second = map(int, found.groups())
    near = datetime.fromtimestamp(near_ns // NS_PER_S, UTC)
    moments: list[datetime] = []
    for year in (near.year - 1, near.year, near.year + 1):
        try:
            moments.append(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
        except ValueError:
            continue
    if not moments:
        return None
    nearest = min(moments, key=lambda moment: abs(moment - near))
    return (nearest - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=1) * NS_PER_S
