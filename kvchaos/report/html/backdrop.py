"""The background of every chart: the time axis, the phases, the windows in which faults were armed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from history.events import EvidenceCounted, ServerReady, ServerStop
from history.reader import History, PhaseWindow
from history.scenario import Role
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.oracle_rows import NumberedFinding
from kvchaos.report.html.timeline_marks import TimelineMark, event_marks, finding_marks
from oracles.faults_fired import armings_of
from oracles.views.timeline import end_ns

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
    """From the moment the server was ready to the last thing that happened before it was stopped."""
    ready = history.events_of(ServerReady)
    start = (ready[0] if ready else history.events[0]).t_ns
    ends = [event.t_ns for event in history.events if event.kind not in TEARDOWN_EVENTS]
    last_request = max(map(end_ns, history.requests), default=start)
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
