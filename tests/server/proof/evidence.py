"""What a run shows of each of its faults: armed, fired, consequential, healed, and the server's fate."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chaos.inside.faults.block_content import is_not_a_number
from history.events import Drained, FaultsHealed, LeakProbe, ServerExit, ServerStalled
from history.reader import History
from history.records import DEADLINE_EXCEEDED, FaultRecord
from history.scenario import FaultSpec
from history.verdict import Verdict
from kvchaos.judging.judge_run import judge
from oracles.answer_comparison import compare
from oracles.effects.checks import missing_effect
from oracles.faults_fired import is_real
from tests.server.proof.cases import Case, varied

ASSERTION = re.compile(r"\b(AssertionError|KeyError|InjectedFailure)\b")


@dataclass(frozen=True)
class Shown:
    """One row of the table."""

    case: Case
    release: str
    created: str
    """When the run was planned, UTC."""
    armed: bool
    fired: int
    """Strikes that changed something."""
    refused: int
    """Arrivals struck that offered nothing to strike."""
    evidence: str
    """The sign of the consequence, or why there is none."""
    consequential: bool
    healed: bool
    """Whether the server confirmed it."""
    server: str
    """lived, died or stalled."""
    verdict: Verdict
    """Of the oracle faults-fired on the whole run."""


@dataclass(frozen=True)
class FaultOutcome:
    """One fault of a run, and what fired of it."""

    history: History
    case: Case
    phase: str
    fired: list[FaultRecord]

    @property
    def first_ns(self) -> int:
        return min(record.t_ns for record in self.fired)


def shown(history: History) -> list[Shown]:
    """One row for each fault of the plan."""
    results = {result.oracle: result for result in judge(history).results}
    verdict = results["faults-fired"].verdict
    return [_shown(history, fault, verdict) for fault in history.plan.scenario.faults]


def _shown(history: History, fault: FaultSpec, verdict: Verdict) -> Shown:
    """The row of the table for one fault of a run."""
    plan = history.plan
    parameter = varied(fault.kind)
    variant = fault.params.get(parameter) if parameter else None
    lines = [record for record in history.faults if record.fault == fault.id]
    outcome = FaultOutcome(
        history=history,
        case=Case(fault.kind, str(variant) if variant else None),
        phase=plan.scenario.phase_of(fault),
        fired=[record for record in lines if record.event == "fired" and is_real(record)],
    )
    doubt = _doubt(outcome, fault)
    return Shown(
        case=outcome.case,
        release=plan.versions.vllm,
        created=plan.created,
        armed=any(record.event == "armed" for record in lines),
        fired=len(outcome.fired),
        refused=sum(record.event == "refused" for record in lines),
        evidence=doubt or _shown_text(outcome),
        consequential=doubt is None,
        healed=any(
            event.data.confirmed is True and event.data.phase == outcome.phase
            for event in history.events_of(FaultsHealed)
        ),
        server=_server(history),
        verdict=verdict,
    )


def _doubt(outcome: FaultOutcome, fault: FaultSpec) -> str | None:
    """Why the consequence is in doubt; None when it is not. Damage must show in the fault's own phase."""
    if not outcome.fired:
        return "it never fired with effect"
    doubt = missing_effect(outcome.history, fault, outcome.fired, {outcome.phase})
    if doubt is None and outcome.case.is_content and not any(_damaged(outcome)):
        return "no answer of its own phase shows the damage"
    return None if doubt is None else doubt.text


def _server(history: History) -> str:
    """Whether the server lived, died or stalled."""
    if history.events_of(ServerExit):
        return "died"
    return "stalled" if history.events_of(ServerStalled) else "lived"


def _damaged(outcome: FaultOutcome) -> tuple[int, int]:
    """Answers of the phase that differ, and those that are not a number."""
    mine = [comparison for comparison in compare(outcome.history) if comparison.record.phase == outcome.phase]
    errors = [record for record in outcome.history.requests if record.phase == outcome.phase]
    return sum(each.difference is not None for each in mine), sum(map(is_not_a_number, errors))


def _damage(outcome: FaultOutcome) -> str:
    """Damaged answers as text."""
    wrong, errors = _damaged(outcome)
    sent = sum(record.phase == outcome.phase for record in outcome.history.requests)
    text = f"{wrong} of {sent} answers differ"
    return f"{text}, {errors} are not a number" if errors else text


def _death(outcome: FaultOutcome) -> str:
    """The end of the server as text, with the assertion in its log."""
    end = outcome.history.events_of(ServerExit)[0]
    assertion = next(
        (found[1] for line in outcome.history.log if (found := ASSERTION.search(line))), "no assertion"
    )
    after_s = (end.t_ns - outcome.first_ns) / 1e9
    return f"{assertion} in the log; the server ended {after_s:.1f} s after the strike"


def _lost(outcome: FaultOutcome) -> str:
    """Missed deadlines, stalls and leaks of a lost completion as text."""
    history = outcome.history
    missed = sum(
        record.error is not None and record.error.kind == DEADLINE_EXCEEDED for record in history.requests
    )
    signs = [f"{missed} deadlines missed"] if missed else []
    signs += [f"no token for {event.data.seconds} s" for event in history.events_of(ServerStalled)[:1]]
    probes: list[Drained | LeakProbe] = [event.data for event in history.events_of(Drained)]
    probes += [event.data for event in history.events_of(LeakProbe)]
    signs += [_server_failure(probe) for probe in probes if probe.ok is False]
    return "; ".join(signs)


def _server_failure(probe: Drained | LeakProbe) -> str:
    """A failed drain or leak probe as text."""
    if isinstance(probe, Drained):
        return f"not drained: {probe.running} running, {probe.waiting} waiting"
    leaked = re.search(r"\((\d+)\) are not freed", probe.detail)
    return f"{leaked[1]} blocks held at the end" if leaked else "the leak probe failed"


def _in_log(outcome: FaultOutcome, pattern: re.Pattern[str]) -> str:
    """Log lines that match a pattern as text."""
    lines = [found[0] for line in outcome.history.log if (found := pattern.search(line))]
    return f"{len(lines)} times in the log: {lines[0]}" if lines else "counted by the server's metrics"


def _shown_text(outcome: FaultOutcome) -> str:
    """The effect as text, by what the kind declares of its proof."""
    proof = outcome.case.proof
    if outcome.case.is_content:
        return _damage(outcome)
    if proof.log_line is not None:
        return _in_log(outcome, proof.log_line)
    if not proof.ends_server:
        return proof.shown
    return _death(outcome) if outcome.history.events_of(ServerExit) else _lost(outcome)
