"""A client that is too slow must never pass for a slow server."""

from __future__ import annotations

import msgspec
import pytest

from history.latency import percentile
from history.reader import History
from history.records import ClientRecord
from history.verdict import Figures, Subject, Verdict, phase
from kvchaos.judging.judge_run import judge as judge_run
from oracles.load_client import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import gap_of
from tests.support.synthetic_records import MS, latency_plan


def client(run: Run, name: str, **changes: object) -> None:
    """Change what the load process told of a phase."""
    at = next(at for at, record in enumerate(run.client) if record.phase == name)
    changed: ClientRecord = msgspec.structs.replace(run.client[at], **changes)
    run.client[at] = changed


def late(run: Run, name: str, late_ns: int, *, queued: bool = False, count: int = 4) -> None:
    """Let requests of a phase start late."""
    indices = [at for at, record in enumerate(run.requests) if record.phase == name]
    for at in indices[:count]:
        due = run.requests[at].start_ns - late_ns
        run.requests[at] = msgspec.structs.replace(run.requests[at], scheduled_ns=due, client_queued=queued)


def limit(history: History, kind: str) -> tuple[Subject, Figures]:
    """Where the client was the limit, and the figures."""
    gap = gap_of(judge(history), f"client/{kind}")
    return gap.subject, gap.figures


def test_a_client_with_time_to_spare_passes_with_its_figures() -> None:
    result = judge(clean_run().history())
    assert result.verdict is Verdict.PASS
    assert result.figures["cpu"] == pytest.approx(0.1)
    assert result.figures["pause_ms"] == 2.0


def test_blocked_event_loop_makes_the_client_the_limit() -> None:
    run = clean_run(latency_plan())
    client(run, "chaos", event_loop_lag_us=[100] * 90 + [1_500_000] * 10)
    figures = {"worker": 0, "ms": 1500, "bound": 1000}
    assert limit(run.history(), "lag") == (phase("chaos"), figures)


@pytest.mark.parametrize(("lag_us", "limited"), [(2_400_000, False), (2_600_000, True)])
def test_without_latency_bounds_client_lag_is_limited_by_deadlines(lag_us: int, limited: bool) -> None:
    run = clean_run()
    client(run, "chaos", event_loop_lag_us=[lag_us] * 50)
    assert (judge(run.history()).verdict is Verdict.UNKNOWN) == limited


@pytest.mark.parametrize(("pause_us", "limited"), [(1_050_000, False), (1_500_000, True)])
def test_single_long_gc_pause_makes_the_client_the_limit(pause_us: int, limited: bool) -> None:
    """It leaves one sample. In 6 s of the phase 1 % may wait for more than the bound of 1 s, not 8 %."""
    run = clean_run(latency_plan())
    client(run, "chaos", event_loop_lag_us=[100] * 250 + [pause_us])
    assert (judge(run.history()).verdict is Verdict.UNKNOWN) == limited


def test_lag_of_one_worker_is_not_averaged_away() -> None:
    run = clean_run(latency_plan())
    other = msgspec.structs.replace(run.client[1], worker=1, event_loop_lag_us=[100] * 100_000)
    run.client.append(other)
    client(run, "chaos", event_loop_lag_us=[1_500_000] * 50)
    assert limit(run.history(), "lag")[1]["worker"] == 0


def test_saturated_client_cpu_is_the_limit() -> None:
    run = clean_run(latency_plan())
    client(run, "healed", cpu_us=4_900_000)
    figures = {"worker": 0, "cpu": pytest.approx(0.98), "bound": 0.95}
    assert limit(run.history(), "cpu") == (phase("healed"), figures)


def test_short_busy_interval_is_no_client_limit() -> None:
    run = clean_run(latency_plan())
    client(run, "healed", wall_us=100_000, cpu_us=99_000)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize(("error_ms", "limited"), [(40, False), (60, True)])
def test_unmeasurable_clock_offset_makes_the_client_the_limit(error_ms: int, limited: bool) -> None:
    run = clean_run(latency_plan())
    client(run, "chaos", clock_offset_ns=-7_000 * MS, clock_error_ns=error_ms * MS)
    assert (judge(run.history()).verdict is Verdict.UNKNOWN) == limited
    if limited:
        assert limit(run.history(), "clock")[1] == {"worker": 0, "ms": 60, "bound": 50}


def test_requests_that_start_late_are_the_limit() -> None:
    run = clean_run(latency_plan())
    late(run, "golden", 300 * MS)
    figures = {"ms": 300, "percentile": 50, "bound": 250}
    assert limit(run.history(), "schedule-lag") == (phase("golden"), figures)


def test_a_few_very_late_starts_are_the_limit_too() -> None:
    run = clean_run(latency_plan())
    late(run, "golden", 1200 * MS, count=1)
    figures = {"ms": 1200, "percentile": 99, "bound": 1000}
    assert limit(run.history(), "schedule-lag") == (phase("golden"), figures)


def test_wait_for_the_concurrency_bound_is_no_client_lag() -> None:
    run = clean_run(latency_plan())
    late(run, "golden", 5000 * MS, queued=True)
    assert judge(run.history()).verdict is Verdict.PASS


def test_latency_bounds_tighten_the_client_limit() -> None:
    run = clean_run(latency_plan())
    late(run, "golden", 30 * MS)
    assert judge(run.history()).verdict is Verdict.PASS
    plan = latency_plan()
    bounds = plan.scenario.limits.client.model_copy(update={"schedule_lag_median_ms": 20.0})
    limits = plan.scenario.limits.model_copy(update={"client": bounds})
    run.plan = plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"limits": limits})})
    assert limit(run.history(), "schedule-lag")[1] == {"ms": 30, "percentile": 50, "bound": 20}


def test_phase_without_client_health_is_unknown() -> None:
    run = clean_run(latency_plan())
    run.client = [record for record in run.client if record.phase != "chaos"]
    assert limit(run.history(), "silent") == (phase("chaos"), {"worker_0": 0})


def test_health_of_one_worker_does_not_cover_the_others() -> None:
    run = clean_run(latency_plan().model_copy(update={"workers": 3}))
    run.client += [msgspec.structs.replace(record, worker=2) for record in run.client]
    run.client += [
        msgspec.structs.replace(record, worker=1) for record in run.client if record.phase == "golden"
    ]
    assert limit(run.history(), "silent") == (phase("chaos"), {"worker_0": 1})


@pytest.mark.parametrize("worse", [False, True])
def test_client_limit_makes_the_run_unknown_despite_other_findings(worse: bool) -> None:
    run = clean_run(latency_plan())
    client(run, "chaos", event_loop_lag_us=[1_500_000] * 50)
    if worse:
        run.event("stall", seconds=20.0, running=1, waiting=0, detail="")
    verdict = judge_run(run.history())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert (verdict.cut.kind, verdict.cut.subject) == ("client/lag", phase("chaos"))
    broken = {rule for result in verdict.results for rule in result.by_rule}
    assert bool(broken) == worse


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 50) is None
    assert [percentile([1.0, 2.0, 9.0], percent) for percent in (1, 33, 34, 50, 67, 99, 100)] == [
        *[1.0, 1.0, 2.0, 2.0, 9.0, 9.0, 9.0]
    ]
