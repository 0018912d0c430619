"""The background of every chart: time axis, phases, windows of armed faults, marks of findings and events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from history.events import (
    EventData,
    EvidenceCounted,
    InterruptedBy,
    RunFailed,
    ServerExit,
    ServerReady,
    ServerStalled,
    ServerStop,
    Timed,
    shown,
)
from history.phase_spec import Role
from history.reader import History, PhaseWindow
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.oracle_rows import NumberedFinding
from oracles.faults_fired import armings_of
from oracles.views.timeline import spans

TEARDOWN_EVENTS = (ServerStop.kind, EvidenceCounted.kind)
"""Events that are written after the end of the run."""
KIND_STYLES = 7
"""Colours and patterns that the page has for kinds of faults."""


@dataclass(frozen=True, slots=True)
class AxisSpan:
    """A part of the time axis, per cent."""

    left: float
    width: float
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class PhaseBand:
    """A phase as it really happened."""

    name: str
    role: Role
    letters: str
    """Letters of the faults of this phase."""
    span: AxisSpan


@dataclass(frozen=True, slots=True)
class FaultBand:
    """A fault of the plan: how its kind is drawn, when it was armed, when it fired."""

    id: str
    kind: str
    letter: str
    """Abbreviates the fault where its name does not fit."""
    style: int
    """Colour and pattern of the kind, from 1."""
    armed: list[AxisSpan]
    fired: list[float]
    """Positions of firings, per cent, each position once."""


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The whole background."""

    axis: TimeAxis
    phases: list[PhaseBand]
    faults: list[FaultBand]
    findings: list[TimelineMark]
    events: list[TimelineMark]

    @property
    def levels(self) -> int:
        """Rows of labels that the findings take."""
        return 1 + max((mark.level for mark in self.findings), default=0)


def backdrop(history: History, findings: Sequence[NumberedFinding]) -> Backdrop:
    """The backdrop of a run's charts. Zero is when the server was ready, or the first event."""
    axis = run_axis(history)
    return Backdrop(
        axis=axis,
        phases=[_phase(history, window, axis) for window in history.phases()],
        faults=list(_faults(history, axis)),
        findings=finding_marks(findings, axis),
        events=event_marks(history.timed, axis),
    )


def run_axis(history: History) -> TimeAxis:
    """The axis from the time at which the server was ready to the last event before its stop."""
    ready = history.events_of(ServerReady)
    start = (ready[0] if ready else history.events[0]).t_ns
    ends = [event.t_ns for event in history.events if event.kind not in TEARDOWN_EVENTS]
    last_request = max((span.last_ns for span in spans(history).values()), default=start)
    return TimeAxis(start, max(*ends, last_request, start + 1), zero_ns=start)


def _phase(history: History, window: PhaseWindow, axis: TimeAxis) -> PhaseBand:
    letters = (
        _letter(index)
        for index, fault in enumerate(history.plan.scenario.faults)
        if history.plan.scenario.phase_of(fault) == window.spec.name
    )
    span = _axis_span(axis, window.start_ns, window.end_ns)
    return PhaseBand(window.spec.name, window.spec.role, " ".join(letters), span)


def _axis_span(axis: TimeAxis, start_ns: int, end_ns: int) -> AxisSpan:
    left = axis.share(start_ns)
    return AxisSpan(left, axis.share(end_ns) - left, axis.seconds(start_ns), axis.seconds(end_ns))


def _faults(history: History, axis: TimeAxis) -> Iterator[FaultBand]:
    kinds: dict[str, int] = {}
    for index, fault in enumerate(history.plan.scenario.faults):
        style = kinds.setdefault(fault.kind, len(kinds) % KIND_STYLES + 1)
        fired = {
            round(axis.share(record.t_ns), 1)
            for record in history.faults
            if record.event == "fired" and record.fault == fault.id
        }
        yield FaultBand(
            id=fault.id,
            kind=fault.kind,
            letter=_letter(index),
            style=style,
            armed=[_axis_span(axis, start, end) for start, end in armed_windows(history, fault.id)],
            fired=sorted(fired),
        )


def _letter(index: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, letter = divmod(index, 26)
    return f"{chr(ord('A') + letter)}{turn + 1 if turn else ''}"


def armed_windows(history: History, fault: str) -> list[tuple[int, int]]:
    """(start, end) of each arming of a fault, wall clock ns; one that never healed ends with the run."""
    over_ns = history.events[-1].t_ns
    return [
        (arming.start_ns, over_ns if arming.end_ns is None else arming.end_ns)
        for arming in armings_of(history)
        if fault in arming.faults
    ]


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
