"""The exporter's metrics of a stored run, moment by moment: sums at the end, nothing before its time."""

from __future__ import annotations

from collections import Counter

from history.scenario import FaultSpec, Trigger
from kvchaos.exporter.run_replay import RunReplay, Samples
from oracles.views.timeline import end_ns
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import make_plan

FAULT = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(nth=(1,)))


def chaos_run() -> Run:
    plan = make_plan(roles=("golden", "chaos"))
    run = clean_run(
        plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"faults": (FAULT,)})})
    )
    run.fire("miss", "lookup_miss")
    return run


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    found = [
        number
        for (metric, own), number in samples.items()
        if metric == name and labels.items() <= dict(own).items()
    ]
    assert found
    return sum(found)


def test_counts_at_the_end_are_those_of_the_records() -> None:
    history = chaos_run().history()
    samples = RunReplay(history).samples(history.events[-1].t_ns)
    for phase, count in Counter(record.phase for record in history.requests).items():
        if phase in ("golden", "chaos"):
            assert value(samples, "kvchaos_requests_total", phase=phase, outcome="ok") == count
            tokens = sum(sum(each.chunk_tokens) for each in history.requests if each.phase == phase)
            assert value(samples, "kvchaos_tokens_total", phase=phase) == tokens
            assert value(samples, "kvchaos_ttft_seconds_count", phase=phase) == count
            assert value(samples, "kvchaos_requests_in_flight", phase=phase) == 0
    assert value(samples, "kvchaos_fault_firings_total", fault="miss") == 1
    assert value(samples, "kvchaos_phase_active") == 0


def test_request_is_in_flight_between_its_start_and_its_end() -> None:
    history = chaos_run().history()
    record = next(each for each in history.requests if each.phase == "chaos")
    replay = RunReplay(history)
    assert value(replay.samples(record.start_ns - 1), "kvchaos_requests_in_flight", phase="chaos") == 0
    assert value(replay.samples(record.start_ns), "kvchaos_requests_in_flight", phase="chaos") == 1
    ended = replay.samples(end_ns(record))
    assert value(ended, "kvchaos_requests_total", phase="chaos", outcome="ok") == 1


def test_phase_and_fault_are_active_in_their_time_only() -> None:
    history = chaos_run().history()
    replay = RunReplay(history)
    armed = next(event.t_ns for event in history.events if event.kind == "armed")
    before, during = replay.samples(armed - 1), replay.samples(armed)
    assert value(before, "kvchaos_fault_active", fault="miss") == 0
    assert value(during, "kvchaos_fault_active", fault="miss") == 1
    assert value(during, "kvchaos_phase_active", phase="chaos") == 1
    assert value(replay.samples(history.events[-1].t_ns), "kvchaos_fault_active", fault="miss") == 0
