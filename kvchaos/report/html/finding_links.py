"""Evidence of a finding: its time, the lane of its request, the chart of its metric, the log at that time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvchaos.report.finding_lines import clock
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.log_times import LogLine, LogTimes
from kvchaos.report.html.oracle_rows import NumberedFinding

NO_LINES = "the server's log has no line of that moment"
NO_TIME = "no moment is known, so no line of the log stands beside it"


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
