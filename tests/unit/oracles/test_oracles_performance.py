"""performance must be red for a server that is too slow, and never for a client that was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from history.latency import Quantiles
from history.phase_spec import PhaseBounds
from history.plan import RunPlan
from history.scenario import ClientBounds
from history.verdict import Figures, OracleResult, Subject, Verdict, phase, request
from oracles.performance import MAX_PHASES, judge
from oracles.speed import speeds
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_kinds, gap_of
from tests.support.synthetic_records import MS, PROMPTS, SECOND, failure, make_plan

# Of the pretended server: TTFT 20 ms, ITL 20 ms, 4 requests of 4 tokens and 100 ms each, one after the other.
AT_ITS_BOUNDS: dict[str, Any] = {"ttft_median_ms": 20.0, "ttft_p99_ms": 20.0, "itl_p99_ms": 20.0}


def plan(name: str = "healed", *, requests: int = PROMPTS, **bounds: Any) -> RunPlan:
    """A plan with bounds on one phase, and with a client that may be half a second late."""
    made = make_plan(roles=("golden", "load", "chaos", "healed"))
    phases = tuple(spec.model_copy(update={"requests": requests}) for spec in made.scenario.phases)
    limits = made.scenario.limits.model_copy(
        update={
            "client": ClientBounds(
                event_loop_lag_ms=500.0, schedule_lag_ms=500.0, schedule_lag_median_ms=500.0
            )
        }
    )
    changes = {"performance": {name: PhaseBounds(**bounds)}, "limits": limits, "phases": phases}
    return made.model_copy(update={"scenario": made.scenario.model_copy(update=changes)})


def slow(run: Run, name: str, *, ttft_ms: int, chosen: slice = slice(None)) -> None:
    """Put off the first token of requests of a phase, and all that follows."""
    of_phase = [index for index, record in enumerate(run.requests) if record.phase == name]
    for index in of_phase[chosen]:
        by_us = ttft_ms * 1000 - 20_000
        record = run.requests[index]
        times = [us + by_us for us in record.chunk_us]
        run.change_request(index, first_us=times[0], chunk_us=times, end_us=record.end_us + by_us)


def failed(run: Run) -> OracleResult:
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    return result


def figures(run: Run, rule: str) -> Figures:
    """Of the finding of a rule, in the phase with bounds."""
    finding = finding_of(judge(run.history()), f"performance/{rule}")
    assert finding.subject == phase("healed")
    return finding.figures


def unknown(run: Run, kind: str) -> Subject:
    """What a gap is about, the only one."""
    result = judge(run.history())
    assert gap_kinds(result) == [kind]
    return gap_of(result, kind).subject


def test_without_bounds_all_good_answers_are_measured_and_reported() -> None:
    result = judge(clean_run().history())
    assert result.verdict is Verdict.PASS
    assert result.checked == 3 * PROMPTS
    assert result.figures == {"phases": 3, "bounded": 0}
    measured = [
        (speed.name, speed.stage, speed.ttft, speed.itl, round(speed.tokens_per_s or 0))
        for speed in speeds(clean_run().history())
    ]
    both = Quantiles(20.0, 20.0)
    assert measured == [
        ("golden", "before", both, both, 40),
        ("chaos", "during", both, both, 40),
        ("healed", "after", both, both, 40),
    ]


def test_summary_lists_only_few_of_many_phases() -> None:
    made = make_plan()
    (golden, *_) = made.scenario.phases
    phases = tuple(golden.model_copy(update={"name": f"p{number}"}) for number in range(9))
    run = clean_run(made.model_copy(update={"scenario": made.scenario.model_copy(update={"phases": phases})}))
    summary = judge(run.history()).summary
    assert [name for name in (f"p{number}" for number in range(9)) if f"{name} (" in summary] == [
        f"p{number}" for number in range(MAX_PHASES)
    ]


def test_a_phase_at_its_bounds_passes() -> None:
    result = judge(clean_run(plan(**AT_ITS_BOUNDS, tokens_per_s=38.0)).history())
    assert result.verdict is Verdict.PASS
    assert result.checked == 4 * PROMPTS + 4
    assert result.figures == {"phases": 4, "bounded": 1}


@pytest.mark.parametrize(
    ("bounds", "rule", "measured"),
    [
        ({"ttft_median_ms": 19.9}, "ttft-median", 20.0),
        ({"ttft_p99_ms": 19.9}, "ttft-p99", 20.0),
        ({"itl_p99_ms": 19.9}, "itl-p99", 20.0),
        ({"tokens_per_s": 50.0}, "throughput", pytest.approx(40, abs=1)),
    ],
)
def test_violated_bound_fails_with_value_and_bound(
    bounds: dict[str, Any], rule: str, measured: float
) -> None:
    run = clean_run(plan(**bounds))
    assert failed(run).violations == 1
    assert figures(run, rule) == {"measured": measured, "bound": next(iter(bounds.values()))}


def test_single_slow_ttft_changes_p99_and_not_the_median() -> None:
    run = clean_run(plan(ttft_median_ms=20.0, ttft_p99_ms=400.0))
    slow(run, "healed", ttft_ms=401, chosen=slice(1, 2))
    result = failed(run)
    assert result.violations == 1
    assert result.findings[0].request == run.requests[run.first_of("healed") + 1].id


def test_a_pause_between_two_tokens_counts_as_itl() -> None:
    run = clean_run(plan(itl_p99_ms=29.0))
    run.change_request(run.first_of("healed"), chunk_us=[20_000, 40_000, 70_000])
    result = failed(run)
    assert figures(run, "itl-p99")["measured"] == 30
    assert result.findings[0].request == run.requests[run.first_of("healed")].id


def test_latency_of_a_delayed_request_counts_from_its_scheduled_time() -> None:
    run = clean_run(plan(ttft_p99_ms=100.0))
    index = run.first_of("healed")
    run.change_request(index, scheduled_ns=run.requests[index].start_ns - 300 * MS, client_queued=True)
    assert figures(run, "ttft-p99")["measured"] == 320


def test_bounds_apply_to_their_phase_only() -> None:
    run = clean_run(plan("load", ttft_p99_ms=20.0))
    slow(run, "chaos", ttft_ms=5_000)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_ttft_worse_than_before_fails() -> None:
    run = clean_run(plan(like="load", ttft_ratio=1.5))
    slow(run, "healed", ttft_ms=30)
    assert judge(run.history()).verdict is Verdict.PASS
    slow(run, "healed", ttft_ms=31)
    assert figures(run, "ttft-ratio") == {"measured": 2.05, "bound": 1.5}


def test_a_throughput_worse_than_before_fails() -> None:
    run = clean_run(plan(like="load", tokens_ratio=0.8))
    assert judge(run.history()).verdict is Verdict.PASS
    last = max(index for index, record in enumerate(run.requests) if record.phase == "healed")
    run.change_request(last, end_us=400_000)
    assert figures(run, "throughput-ratio")["bound"] == 0.8


def recovering(bad: int, ttft_ms: int = 800) -> Run:
    """A run whose first requests after healing are slow."""
    run = clean_run(plan(requests=12, like="load", recover_s=2.0))
    run.event("armed", phase="chaos", faults=["f1"])
    run.event("healed", phase="chaos", faults=["f1"], confirmed=True)
    healed = next(event for event in run.events if event.kind == "healed")
    start = next(event for event in run.events if event.data.get("phase") == "healed")
    run.events.remove(healed)
    moved = msgspec.structs.replace(healed, t_ns=start.t_ns - SECOND)
    run.events.insert(run.events.index(start), moved)
    slow(run, "healed", ttft_ms=ttft_ms, chosen=slice(bad))
    return run


def test_a_server_that_recovers_in_time_passes() -> None:
    assert judge(recovering(bad=3).history()).verdict is Verdict.PASS


def test_a_server_that_recovers_too_late_fails_with_the_time_it_took() -> None:
    run = recovering(bad=3)
    start = run.first_of("healed")
    for index in range(start + 3, start + 12):
        later = run.requests[index].start_ns + SECOND
        run.change_request(index, start_ns=later, scheduled_ns=later)
    measured = figures(run, "recovery")
    assert (measured["normal_ms"], measured["bound"]) == (20, 2)
    assert measured["seconds"] == pytest.approx(2.3, abs=0.1)


def test_a_few_quick_answers_between_slow_ones_are_no_recovery() -> None:
    run = recovering(bad=0)
    for index in (3, 7, 11):
        slow(run, "healed", ttft_ms=800, chosen=slice(index, index + 1))
    assert figures(run, "recovery") == {"normal_ms": 20, "bound": 2}


def test_recovery_bound_without_a_disturbance_is_unknown() -> None:
    run = clean_run(plan(requests=12, like="load", recover_s=2.0))
    assert unknown(run, "performance/no-recovery") == phase("healed")


def test_client_limit_makes_violated_bounds_unknown() -> None:
    run = clean_run(plan(ttft_p99_ms=1.0))
    index = next(index for index, record in enumerate(run.client) if record.phase == "chaos")
    run.client[index] = msgspec.structs.replace(run.client[index], event_loop_lag_us=[600_000] * 50)
    assert unknown(run, "client/lag") == phase("chaos")


@pytest.mark.parametrize(
    "changes",
    [
        {"first_us": 30_000},
        {"chunk_us": [20_000, 60_000, 40_000]},
        {"end_us": 50_000},
        {"first_us": None, "chunk_us": []},
        {"first_us": -1, "chunk_us": [-1, 40_000, 60_000]},
    ],
    ids=["other first", "out of order", "ends early", "no token", "before its start"],
)
def test_contradictory_times_are_unknown(changes: dict[str, Any]) -> None:
    run = clean_run()
    record = run.change_request(3, **changes)
    assert unknown(run, "performance/times-inconsistent") == request(record.id)


def test_a_phase_with_bounds_and_without_a_good_answer_is_unknown() -> None:
    run = clean_run(plan(ttft_p99_ms=20.0))
    for index, record in enumerate(run.requests):
        if record.phase == "healed":
            run.change_request(index, **failure("InternalServerError", "boom"))
    assert unknown(run, "performance/no-answer") == phase("healed")


def test_a_phase_to_compare_with_that_has_no_good_answer_is_unknown() -> None:
    run = clean_run(plan(like="load", tokens_ratio=0.8))
    run.requests = [record for record in run.requests if record.phase != "load"]
    assert unknown(run, "performance/no-answer") == phase("load")


def test_a_single_token_has_no_itl_to_judge() -> None:
    run = clean_run(plan(itl_p99_ms=20.0))
    for index, record in enumerate(run.requests):
        if record.phase == "healed":
            run.change_request(index, chunk_us=[20_000], chunk_tokens=[1], token_ids=[11])
    assert unknown(run, "performance/not-measured") == phase("healed")


def test_several_answers_in_one_stream_have_no_itl() -> None:
    run = clean_run()
    for index in range(len(run.requests)):
        run.change_request(index, choices=2)
    assert [speed.itl.p99 for speed in speeds(run.history())] == [None] * 3


def test_percentiles_are_values_that_were_measured() -> None:
    run = clean_run(plan(requests=200, ttft_p99_ms=1.0))
    slow(run, "healed", ttft_ms=90, chosen=slice(2))
    healed = speeds(run.history())[-1]
    assert (healed.ttft.median, healed.ttft.p99) == (20.0, 20.0)
    slow(run, "healed", ttft_ms=90, chosen=slice(2, 3))
    assert speeds(run.history())[-1].ttft.p99 == 90.0


@pytest.mark.parametrize(
    ("roles", "stages"),
    [
        (("golden", "load", "chaos", "healed"), ["before", "before", "during", "after"]),
        (("chaos", "golden", "load"), ["during", "before", "after"]),
        (("golden", "load"), ["before", "before"]),
    ],
)
def test_phase_is_before_during_or_after_the_faults(roles: Any, stages: list[str]) -> None:
    assert [speed.stage for speed in speeds(clean_run(make_plan(roles=roles)).history())] == stages
