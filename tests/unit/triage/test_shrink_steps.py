"""The steps of real scenarios: each gives a valid scenario or none, and each is one part that is smaller."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.phase_spec import Closed
from history.scenario import FaultSpec, Scenario, Trigger
from kvchaos.planning.scenario_file import find_scenario, load_scenario, rechecked, scenario_files
from kvchaos.triage.failure_trace import FailureTrace
from kvchaos.triage.shrink_steps import steps_of
from kvchaos.triage.shrunk_scenario import scenario_digest
from tests.support.triage_runs import triage_scenario

NO_TRACE = FailureTrace()


def smallest(start: Scenario, *names: str, trace: FailureTrace = NO_TRACE) -> Scenario:
    """After these steps alone, with every smaller scenario accepted."""
    current = start
    for name in names:
        (step,) = (each for each in steps_of(trace, current) if each.name == name)
        states = step.reductions("exact")
        try:
            state = next(states)
            while True:
                current = current if state is None else state
                state = states.send(state is not None)
        except StopIteration:
            continue
    return current


@pytest.mark.parametrize("path", scenario_files(), ids=lambda path: path.stem)
def test_every_first_reduction_of_every_scenario_is_valid_or_refused(path: Path) -> None:
    scenario = load_scenario(path)
    names = [step.name for step in steps_of(NO_TRACE, scenario)]
    assert len(names) == len(set(names))
    for step in steps_of(NO_TRACE, scenario):
        state = next(step.reductions("coarse"), None)
        if state is not None:
            assert rechecked(state.model_dump(mode="json")) == state


@pytest.mark.parametrize("path", scenario_files(), ids=lambda path: path.stem)
def test_everything_can_be_left_out_of_every_scenario_in_the_end(path: Path) -> None:
    current = load_scenario(path)
    for _ in range(3):
        for name in [step.name for step in steps_of(NO_TRACE, current)]:
            if any(step.name == name for step in steps_of(NO_TRACE, current)):
                current = smallest(current, name)
    (phase,) = current.phases
    assert (phase.concurrency, phase.arrivals, current.faults) == (1, Closed(), ())
    assert rechecked(current.model_dump(mode="json")) == current


def test_faults_of_a_phase_go_with_it_and_so_do_its_requirements_and_workload() -> None:
    start = load_scenario(find_scenario("legal-swarm"))
    (step,) = (each for each in steps_of(NO_TRACE, start) if each.name == "phases")
    states = step.reductions("exact")
    kept = []
    for state in [next(states), *(states.send(False) for _ in range(3))]:
        if state is not None:
            kept.append({phase.name for phase in state.phases})
            assert {fault.phase for fault in state.faults} <= kept[-1]
            assert set(state.workloads) == {phase.workload for phase in state.phases}
    assert {"golden", "lost"} in kept


def test_fault_without_a_phase_stays_in_its_own() -> None:
    fault = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(every=1))
    assert smallest(triage_scenario(faults=(fault,)), "phases").faults == (
        fault.model_copy(update={"phase": "chaos"}),
    )


def test_fault_is_pinned_to_its_firings_and_shrunk_to_one() -> None:
    fault = FaultSpec(id="fail", kind="load_failure", trigger=Trigger(probability=0.5, states=("decode",)))
    trace = FailureTrace(fired={"fail": (2, 5, 9)})
    pinned = smallest(triage_scenario(faults=(fault,)), "faults: pinned", trace=trace)
    assert pinned.faults[0].trigger == Trigger(nth=(2, 5, 9), states=("decode",))
    assert len(smallest(pinned, "faults.fail.nth").faults[0].trigger.nth or ()) == 1


def test_requests_are_left_out_at_either_end() -> None:
    start = triage_scenario(requests=40)
    (_, first) = smallest(start, "phases.chaos.requests").phases
    (_, last) = smallest(start, "phases.chaos.requests: last").phases
    assert (first.first, first.requests) == (0, 1)
    assert (last.first, last.requests) == (39, 1)


def test_conversations_stay_whole() -> None:
    start = load_scenario(find_scenario("chat-return"))
    assert smallest(start, "phases.new.requests").phases[-1].requests == 4


def test_requests_after_the_failure_are_left_out_at_once() -> None:
    start = load_scenario(find_scenario("chat-return"))
    trace = FailureTrace(sent={"golden": 48, "again": 6})
    cut = smallest(start, "until the failure", trace=trace)
    assert [(phase.name, phase.requests) for phase in cut.phases] == [("golden", 48), ("again", 8)]
    assert set(cut.workloads) == {"known"}


def test_server_settings_become_the_defaults_but_for_its_blocks() -> None:
    start = load_scenario(find_scenario("load-failure-livelock"))
    cut = smallest(start, "server", "server.extra_args")
    assert cut.server.gpu_blocks == 39
    assert cut.server.model_dump(exclude_defaults=True) == {"gpu_blocks": 39}


def test_chaos_module_stays_off_once_it_is_off() -> None:
    off = smallest(triage_scenario(), "server.chaos")
    assert not off.server.chaos
    assert not smallest(off, "server").server.chaos


def test_summary_does_not_make_another_scenario() -> None:
    start = triage_scenario()
    assert scenario_digest(start) == scenario_digest(start.model_copy(update={"summary": "other"}))
    assert scenario_digest(start) != scenario_digest(triage_scenario(requests=39))
