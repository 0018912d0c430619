"""What a failing run had done until its failure: the firings of faults, and the requests sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from history.phase_spec import PhaseSpec
from history.reader import History
from history.records import RequestRecord
from history.verdict import Finding, RunVerdict
from kvchaos.planning.run_plan import fired_occurrences
from oracles.views.timeline import end_ns

OF_THE_SERVER = frozenset({"server", "process"})
"""Subjects of findings that come some time after the first request has failed of their cause."""


@dataclass(frozen=True, slots=True)
class FailureTrace:
    """What a smaller scenario can be pinned to."""

    fired: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By fault the invocations at which it fired."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """By phase the requests that were sent until the failure; phases without one are left out.

    Empty: its time is not known."""


def failure_trace(history: History, verdict: RunVerdict, rule: str) -> FailureTrace:
    """Of the failure by this rule."""
    faults = history.plan.scenario.faults
    fired = {fault.id: fired_occurrences(history.faults, fault.id) for fault in faults}
    phases = history.plan.scenario.phases
    findings = [finding for result in verdict.results for finding in result.findings if finding.rule == rule]
    moment = _moment(findings, history.requests)
    return FailureTrace(fired, {} if moment is None else _sent(phases, history.requests, moment))


def _moment(findings: Iterable[Finding], requests: Iterable[RequestRecord]) -> int | None:
    """The time of the first finding, ns; None where none of them has one."""
    times: list[int] = []
    of_server = False
    for finding in findings:
        of_server = of_server or finding.subject.kind in OF_THE_SERVER
        if finding.t_ns is not None:
            times.append(finding.t_ns)
    if times and of_server:
        times += [end_ns(record) for record in requests if record.outcome == "error"]
    return min(times, default=None)


def _sent(phases: Iterable[PhaseSpec], requests: Iterable[RequestRecord], moment: int) -> dict[str, int]:
    """By phase the requests up to the last one that was sent by then."""
    first = {phase.name: phase.first for phase in phases}
    sent: dict[str, int] = {}
    for record in requests:
        _, _, index = record.id.rpartition("-")
        if record.start_ns <= moment and record.phase in first and index.isdecimal():
            count = int(index) + 1 - first[record.phase]
            sent[record.phase] = max(sent.get(record.phase, 0), count)
    return sent
