"""From the history of a run to its outcome: every oracle under a guard, then the plan's expectation."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from history import layout
from history.finding import SERVER, Gap
from history.plan import RunPlan
from history.reader import History, read_history
from history.verdict import OracleResult, Outcome, RunVerdict, Verdict
from kvchaos.bugs.explaining import bug_results, by_bugs
from kvchaos.judging.cut_short import cut_short
from kvchaos.judging.expectation import evaluate, expected_oracles
from kvchaos.report.coverage import coverage_text
from kvchaos.report.html.render import report_html
from kvchaos.report.junit import junit_xml
from kvchaos.report.phase_latency import latency_text
from kvchaos.report.summary import summary_text
from oracles import Oracle, judges_of
from oracles.causes import causes, following
from oracles.effects.declared import attributed, explain
from oracles.findings import shortened
from oracles.load_client import limited

CRASHES = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError)
"""What an oracle may raise on an odd history; anything else is a defect of the machine or ours."""


def judge(history: History, oracles: Sequence[Oracle] | None = None) -> RunVerdict:
    """Judge a history, by the oracles of its stack if none are given. Pure: the same history gives the same
    verdict."""
    plan = history.plan
    judged = [run_oracle(oracle, history) for oracle in oracles or judges_of(plan)]
    unattributed = causes(history, judged)
    marked, effects = explain(history, judged, following(judged, unattributed))
    found = by_bugs(marked, plan.expectation, attributed(unattributed, marked))
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
    """Without the garbage collector: it would look through all records of a long run again and again, and in
    a history nothing points in a circle."""
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
    try:
        return oracle.judge(history)
    except CRASHES as error:
        summary = f"the oracle could not judge this run: {type(error).__name__}: {error}"
        crashed = Gap(kind=f"{oracle.name}/crashed", subject=SERVER, text=summary)
        return OracleResult(oracle=oracle.name, verdict=Verdict.UNKNOWN, summary=summary, gaps=[crashed])
