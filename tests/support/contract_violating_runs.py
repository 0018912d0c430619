"""Runs in which a contract-violating fault fired and no bug shows, and the findings that it may bring."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace
from packaging.version import Version

from history.expected_findings import Expectation
from history.plan import RunPlan
from history.protocol.evidence import FIRINGS
from history.protocol.schedule import Value
from history.scenario import FaultSpec, Trigger
from history.verdict import RunVerdict
from kvchaos.judging.judge_run import judge
from kvchaos.judging.outcome import ExpectationMatch, match_expectation
from kvchaos.planning.run_plan import declared_effects
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import MS, make_plan

RELEASE = Version("0.32.0")
NOT_GOLDEN = "answers/not-golden"
DIED = "server-alive/died"


def planned(kind: str, params: Mapping[str, Value], expectation: Expectation | None = None) -> RunPlan:
    """The plan of a run with one fault and the effects that this fault declares."""
    fault = FaultSpec(id="f1", kind=kind, trigger=Trigger(every=1), params=dict(params))
    plan = make_plan(faults=(fault,), expectation=expectation)
    return plan.model_copy(update={"effects": tuple(declared_effects((fault,), RELEASE))})


def struck(kind: str, *indices: int, direction: str = "load", **params: Value) -> Run:
    """A run without a fault of the server, in which a fault struck these requests of the chaos phase."""
    run = clean_run(planned(kind, params))
    for index in indices:
        strike(run, kind, index, direction)
    return run


def strike(run: Run, kind: str, index: int, direction: str = "load") -> None:
    """In the middle of a request of the chaos phase, counted from 0."""
    record = run.requests[run.first_of("chaos") + index]
    fields = {field.name for field in msgspec.structs.fields(FIRINGS[kind])}
    whose = {"direction": direction} if "direction" in fields else {}
    run.fire_at(record.start_ns + 10 * MS, "f1", kind, **whose)
    run.faults[-1] = replace(run.faults[-1], request=f"cmpl-{record.id}-0-8d87c8ec")


def differ(run: Run, index: int, phase: str = "chaos") -> str:
    """Give a request another answer than the golden one; its id."""
    number = run.first_of(phase) + index
    return run.change_request(number, logprobs=[-9.0 - number, -0.25, -1.75, -0.125]).id


def reset(run: Run) -> None:
    """The conductor resets the prefix cache after healing."""
    healed = next(event for event in run.events if event.kind == "healed")
    run.event("prefix_cache_reset", ok=True, answer="true", detail="")
    run.events[-1] = replace(run.events[-1], t_ns=healed.t_ns + 1)
    run.events.sort(key=lambda event: event.t_ns)


def end_server(run: Run, after_ns: int) -> None:
    """It exits so long after the first firing, and nothing is known of it from then on."""
    t_ns = run.faults[1].t_ns + after_ns
    run.event("server_exit", code=1, pid=run.leader)
    run.events[-1] = replace(run.events[-1], t_ns=t_ns)
    run.drop_events("server_stop")
    run.events.sort(key=lambda event: event.t_ns)


def verdict(run: Run) -> RunVerdict:
    """The verdict of the run so far."""
    return judge(run.history())


def explained(judged: RunVerdict) -> dict[str, int]:
    """Findings by rule that the only declared effect explains."""
    (effect,) = judged.effects
    return effect.explains


def expectation_match(run: Run, oracle: str) -> ExpectationMatch:
    """How the result of an oracle fits the expectation of the run."""
    judged = verdict(run)
    result = next(result for result in judged.results if result.oracle == oracle)
    return match_expectation(result, run.plan.expectation, judged.causes)
