"""Marks on the time axis: findings, and events of the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from history.events import EventData, InterruptedBy, RunFailed, ServerExit, ServerReady, ServerStalled
from history.timed import Timed, shown
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.oracle_rows import NumberedFinding

MIN_MARK_DISTANCE = 1.5
"""Marks nearer to each other, per cent of the width, are drawn as one."""
CHAR, SPACE = 2.2, 3.0
"""Width of a letter and of the space around a label, per cent of the width of a phone."""
EVENT_LABELS: dict[type[EventData], str] = {
    ServerReady: "server ready",
    ServerExit: "server exited",
    ServerStalled: "stall",
    InterruptedBy: "interrupted",
    RunFailed: "run failed",
}


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """One or several findings at nearly the same moment, or an event."""

    at: float
    label: str
    text: str
    target: str = ""
    """Where its link leads to; empty without one."""
    level: int = 0
    """Row in which its label does not touch another."""


def finding_marks(findings: Sequence[NumberedFinding], axis: TimeAxis) -> list[TimelineMark]:
    """One mark for findings that would be drawn over each other."""
    timed = sorted(
        ((finding.t_ns, finding.number, finding) for finding in findings if finding.t_ns is not None),
        key=lambda entry: entry[:2],
    )
    groups: list[list[NumberedFinding]] = []
    begun = 0.0
    for t_ns, _, finding in timed:
        at = axis.share(t_ns)
        if groups and at - begun < MIN_MARK_DISTANCE:
            groups[-1].append(finding)
        else:
            groups.append([finding])
            begun = at
    return _levelled([_mark(group, axis) for group in groups])


def event_marks(events: Sequence[Timed[EventData]], axis: TimeAxis) -> list[TimelineMark]:
    """The events that change what can be expected of the server."""
    return [
        TimelineMark(axis.share(event.t_ns), EVENT_LABELS[type(event.data)], _event_text(event, axis))
        for event in events
        if type(event.data) in EVENT_LABELS
    ]


def _levelled(marks: Sequence[TimelineMark]) -> list[TimelineMark]:
    """Each mark in the first row where there is room for its label."""
    taken: list[float] = []
    placed: list[TimelineMark] = []
    for mark in marks:
        half = (len(mark.label) * CHAR + SPACE) / 2
        level = next((n for n, end in enumerate(taken) if end <= mark.at - half), len(taken))
        taken[level : level + 1] = [mark.at + half]
        placed.append(replace(mark, level=level))
    return placed


def _mark(group: list[NumberedFinding], axis: TimeAxis) -> TimelineMark:
    at_ns = next((finding.t_ns for finding in group if finding.t_ns is not None), axis.start_ns)
    ordered = sorted(group, key=lambda finding: finding.number)
    text = ", ".join(f"{finding.number} ({finding.oracle})" for finding in ordered)
    plural = "s" if len(group) > 1 else ""
    return TimelineMark(
        at=axis.share(at_ns),
        label=number_ranges([finding.number for finding in ordered]),
        text=f"finding{plural} {text} at {axis.seconds(at_ns):.2f} s",
        target=f"finding-{ordered[0].number}",
    )


def number_ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, those that follow on each other as a range: 1, 4-6."""
    ranges: list[tuple[int, int]] = []
    for one in numbers:
        if ranges and one == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], one)
        else:
            ranges.append((one, one))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _event_text(event: Timed[EventData], axis: TimeAxis) -> str:
    details = ", ".join(f"{key} {value}" for key, value in shown(event.data).items() if value is not None)
    text = EVENT_LABELS[type(event.data)] + (f" ({details})" if details else "")
    return f"{text} at {axis.seconds(event.t_ns):.2f} s"
