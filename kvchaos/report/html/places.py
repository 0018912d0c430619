"""Where a finding leads: its moment, its request's lane, its metric's chart, the log beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvchaos.report.evidence import clock
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.findings import NumberedFinding
from kvchaos.report.html.log_times import LogLine, LogTimes

NO_LINES = "the server's log has no line of that moment"
NO_TIME = "no moment is known, so no line of the log stands beside it"


@dataclass(frozen=True, slots=True)
class Link:
    """To another place of the page."""

    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """All that leads from a finding to its evidence."""

    when: str
    """What was when, in seconds and wall clock; empty when no moment is known."""
    links: list[Link]
    log: list[LogLine]
    log_note: str
    """Which lines these are, or why there are none."""


def place_of(
    finding: NumberedFinding,
    axis: TimeAxis,
    lanes: Mapping[str, str],
    counters: Mapping[str, str],
    times: LogTimes,
) -> Place:
    """`lanes` and `counters` give the place of a request and of a metric in the page."""
    lines, note = _log(finding, times)
    return Place(_when(finding, axis), _links(finding, lanes, counters), lines, note)


def _when(finding: NumberedFinding, axis: TimeAxis) -> str:
    if finding.moment is None:
        return ""
    t_ns = finding.moment.t_ns
    return f"{finding.moment.what} {axis.seconds(t_ns):.2f} s, {clock(t_ns)}"


def _links(finding: NumberedFinding, lanes: Mapping[str, str], counters: Mapping[str, str]) -> list[Link]:
    links: list[Link] = []
    witness = finding.finding
    if finding.t_ns is not None:
        links.append(Link("timeline", "on the timeline"))
    if witness.request is not None and witness.request in lanes:
        links.append(Link(lanes[witness.request], "its request"))
    if witness.metric is not None and witness.metric in counters:
        links.append(Link(counters[witness.metric], "its counter"))
    return links


def _log(finding: NumberedFinding, times: LogTimes) -> tuple[list[LogLine], str]:
    number = finding.finding.log_line
    if number is not None:
        return times.around(number), f"server.log around line {number}"
    if finding.t_ns is None:
        return [], NO_TIME
    lines = times.beside(finding.t_ns)
    return lines, f"server.log about {clock(finding.t_ns)}" if lines else NO_LINES
