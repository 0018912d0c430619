"""Judges a stored run: runs every oracle, and compares the results with the plan's expectation.

A run that was cut short, or whose files are not complete, is unknown.
"""

from __future__ import annotations

import dataclasses
import gc
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from history import layout
from history.events import (
    FINAL,
    CleanState,
    EvidenceCounted,
    InterruptedBy,
    PhaseEnd,
    PhaseStart,
    ProbeSent,
    RunFailed,
    ServerExit,
    ServerStop,
)
from history.plan import RunPlan
from history.protocol.extensions import OWN, ForeignCode
from history.reader import History, read_history
from history.stack_capabilities import CAPABILITIES
from history.verdict import SERVER, Gap, OracleResult, Outcome, RunVerdict, Subject, Verdict
from history.verdict import fault as fault_subject
from history.verdict import phase as phase_subject
from kvchaos.bugs.bug_matching import bug_results, by_bugs
from kvchaos.judging.outcome import evaluate, expected_oracles
from kvchaos.report.history_tables import coverage_text, latency_text
from kvchaos.report.html.report_page import report_html
from kvchaos.report.verdict_text import junit_xml, summary_text
from oracles import ORIGINS, judges_of
from oracles.causes import causes, following, with_kinds
from oracles.effects.declared import attributed, explain
from oracles.findings import Oracle, shortened
from oracles.load_client import limited
from oracles.views.incarnations import incarnations

CRASHES = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError)
"""What an oracle may raise on an odd history; anything else is a defect of the machine or ours."""


def judge(history: History, oracles: Sequence[Oracle] | None = None) -> RunVerdict:
    """Judge a history by the given oracles, or else by those of its stack.

    Pure: the same history gives the same verdict.
    """
    plan = history.plan
    judged = [run_oracle(oracle, history) for oracle in oracles or judges_of(plan)]
    unattributed = causes(history, judged)
    marked, effects = explain(history, judged, following(judged, unattributed))
    attributed_causes = attributed(unattributed, marked)
    found = by_bugs(marked, plan.expectation, attributed_causes, partial(with_kinds, history))
    results = [replace(result, findings=shortened(result.findings)) for result in marked]
    cut = cut_short(history) or limited(history)
    outcome, reasons = evaluate(results, plan.expectation, cut, found, effects)
    return RunVerdict(
        run_id=plan.run_id,
        scenario=plan.scenario.name,
        server=plan.versions.server_name,
        seed=plan.seed,
        outcome=outcome,
        reasons=reasons,
        expected_failures=expected_oracles(plan.expectation),
        issue=plan.expectation.issue,
        results=results,
        cut=cut,
        causes=found,
        effects=effects,
        bugs=bug_results(results, plan.expectation, found),
        seal=history.seal.state,
    )


def judge_run_dir(run_dir: Path, change: Callable[[RunPlan], RunPlan] | None = None) -> RunVerdict:
    """Read, judge, and write verdict.json, junit.xml, summary.md and report.html beside the evidence.

    `change` gives the plan to judge by instead of the stored one. Raises UnreadableRun when the directory
    holds no readable run, OSError when it cannot be written.
    """
    with collector_off():
        history = read_history(run_dir)
        if change is not None:
            history = dataclasses.replace(history, plan=change(history.plan))
        return _judge_and_write(history)


@contextmanager
def collector_off() -> Iterator[None]:
    """Run without the garbage collector.

    It would scan all records of a long run again and again, and a history has no reference cycles.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _judge_and_write(history: History) -> RunVerdict:
    run_dir, verdict = history.run_dir, judge(history)
    encoded = msgspec.json.format(msgspec.json.encode(verdict), indent=2)
    (run_dir / layout.VERDICT).write_bytes(encoded + b"\n")
    (run_dir / layout.JUNIT).write_text(junit_xml(history.plan, verdict), encoding="utf-8")
    parts = (summary_text(history.plan, verdict), latency_text(history), coverage_text(history))
    summary = "\n".join(part for part in parts if part)
    (run_dir / layout.SUMMARY).write_text(summary, encoding="utf-8")
    (run_dir / layout.REPORT).write_text(report_html(history, verdict), encoding="utf-8")
    return verdict


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 when all are as expected, 1 when any is not, else 2. No outcome at all is unknown."""
    distinct = set(outcomes)
    if "not as expected" in distinct:
        return 1
    return 0 if distinct == {"as expected"} else 2


def run_oracle(oracle: Oracle, history: History) -> OracleResult:
    """The result of an oracle; one that cannot read the history is unknown, with the error as the reason."""
    if ORIGINS.get(oracle.name, OWN) != OWN:
        return _foreign_result(oracle, history)
    try:
        return oracle.judge(history)
    except CRASHES as error:
        return _crashed(oracle, f"the oracle could not judge this run: {type(error).__name__}: {error}")


def _foreign_result(oracle: Oracle, history: History) -> OracleResult:
    """The result of an oracle of another package, which can raise anything, or return anything."""
    origin = ORIGINS[oracle.name]
    with ForeignCode() as code:
        result = oracle.judge(history)
        if isinstance(result, OracleResult) and result.oracle == oracle.name:
            return result
        return _crashed(oracle, f"the oracle of {origin} returned no result of its own")
    return _crashed(oracle, f"the oracle of {origin} could not judge this run: {code.error}")


def _crashed(oracle: Oracle, summary: str) -> OracleResult:
    crashed = Gap(kind=f"{oracle.name}/crashed", subject=SERVER, text=summary)
    return OracleResult(oracle=oracle.name, verdict=Verdict.UNKNOWN, summary=summary, gaps=[crashed])


RESEAL = ", or seal what was altered on purpose with: kvchaos reseal RUN_DIR"


def cut_short(history: History) -> Gap | None:
    """Why the run did not go to its end, None when it did."""
    for broken in history.seal.broken:
        return _cut("seal-broken", f"{broken}; judge the run directory as the run left it{RESEAL}")
    for failed in history.events_of(RunFailed):
        return _cut("failed", f"the run failed: {failed.data.reason}")
    for interrupted in history.events_of(InterruptedBy):
        return _cut("interrupted", f"the run was interrupted by {interrupted.data.signal}")
    for change in history.changed:
        return _cut("changed", f"{change}; judge the run directory as the run left it")
    if not any(event.data.where == FINAL for event in history.events_of(ProbeSent)):
        return _cut("broke-off", "the run broke off before its conductor reached the end")
    if history.plan.notes_evidence and not history.events_of(EvidenceCounted):
        return _cut(
            "evidence-missing",
            "the run broke off before its conductor recorded how many lines its files have",
        )
    if history.plan.sealed and history.seal.state == "unsealed":
        return _cut("seals-missing", f"the run broke off before it sealed its files: no {layout.SEALS}")
    return (
        _fault_raised(history)
        or _not_stopped(history)
        or _restart_not_scraped(history)
        or _missing_phase(history)
    )


def _fault_raised(history: History) -> Gap | None:
    """A fault of another package whose code raised inside the server: what it did until then is unknown."""
    for line in history.faults:
        if line.refusal is not None and line.refusal.reason == "fault-raised":
            return _cut("fault-raised", f"inside the server {line.refusal.detail}", fault_subject(line.fault))
    return None


def _not_stopped(history: History) -> Gap | None:
    """At the end of a run its server is stopped, or left to the next run, unless it has ended."""
    ends = (ServerStop, ServerExit, CleanState)
    starts = CAPABILITIES[history.plan.stack].starts_processes
    if not starts or any(history.events_of(kind) for kind in ends):
        return None
    return _cut(
        "stop-missing", "the run broke off: no event says that its server was stopped or left running"
    )


def _restart_not_scraped(history: History) -> Gap | None:
    """The scrapes after a restart are of another server process."""
    log = history.metrics
    for life in incarnations(history)[1:]:
        index = bisect_left(log.times_ns, life.start_ns)
        if 0 < index < len(log) and log.incarnations[index - 1] == log.incarnations[-1]:
            return _cut(
                "restart-not-seen",
                "the events say that the server was restarted, but its scrapes show no restart",
            )
    return None


def _cut(kind: str, text: str, subject: Subject = SERVER) -> Gap:
    return Gap(kind=f"run/{kind}", subject=subject, text=text)


def _missing_phase(history: History) -> Gap | None:
    """A phase that the run must have passed and whose events are missing."""
    ends = {event.data.phase: event.data.reason for event in history.events_of(PhaseEnd)}
    begun = {event.data.phase for event in history.events_of(PhaseStart)}
    for phase in history.plan.scenario.phases:
        if phase.name not in begun or phase.name not in ends:
            what = "end" if phase.name in begun else "begin"
            text = f"phase {phase.name} has no event of its {what}"
            return _cut("phase-missing", text, phase_subject(phase.name))
        if ends[phase.name] != "done":
            return None  # The phases after it were given up, and the oracles know why.
    return None
