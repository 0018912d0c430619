"""A fired list is a schedule; a swarm is decided by the seed alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.inside.trigger_decisions import expected_firings
from history.protocol.schedule import Trigger as InsideTrigger
from history.records import FaultEvent, FaultRecord
from history.scenario import FaultSpec, Scenario, Trigger
from kvchaos.errors import UsageError
from kvchaos.planning.run_plan import fired_occurrences, pin_to_occurrences, replay_of, swarm
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import fault, make_plan


def line(fault: str, n: int, event: FaultEvent = "fired") -> FaultRecord:
    return FaultRecord(
        t_ns=0,
        mono_ns=0,
        role="worker",
        pid=1,
        event=event,
        fault=fault,
        kind="load_failure",
        site="load-result",
        n=n,
        request=None,
        evidence={},
    )


def scenario(*ids: str) -> Scenario:
    faults = tuple(
        FaultSpec(id=name, kind="load_failure", trigger=Trigger(probability=0.2, limit=5)) for name in ids
    )
    return make_plan().scenario.model_copy(update={"faults": faults, "swarm": True})


def test_replay_contains_only_strikes_that_fired_in_order() -> None:
    journal = [line("a", 9), line("a", 4), line("a", 6, "refused"), line("a", 30, "healed"), line("b", 2)]
    assert fired_occurrences(journal, "a") == (4, 9)


def test_replay_strikes_exactly_the_recorded_invocations() -> None:
    again = pin_to_occurrences(scenario("a", "b", "c"), [line("a", 9), line("a", 4), line("c", 0)])
    assert [(fault.id, fault.trigger.nth) for fault in again.faults] == [("a", (4, 9)), ("c", (0,))]
    trigger = InsideTrigger(nth=again.faults[0].trigger.nth)
    assert list(expected_firings(trigger, 123, "a", "load-result", 100)) == [4, 9]


def test_a_replay_counts_the_same_arrivals_by_the_same_states() -> None:
    # Numbers alone would strike others: arrivals in other states were not counted.
    fault = FaultSpec(id="a", kind="load_failure", trigger=Trigger(every=2, states=("decode", "storing")))
    choosy = make_plan().scenario.model_copy(update={"faults": (fault,)})
    again = pin_to_occurrences(choosy, [line("a", 4)])
    assert again.faults[0].trigger == Trigger(nth=(4,), states=("decode", "storing"))


def test_a_replay_of_a_replay_is_the_same_schedule() -> None:
    journal = [line("a", 9), line("a", 4)]
    once = pin_to_occurrences(scenario("a"), journal)
    assert pin_to_occurrences(once, journal) == once


def test_a_replay_draws_no_new_swarm() -> None:
    assert pin_to_occurrences(scenario("a"), [line("a", 1)]).swarm is False


def test_the_seed_chooses_the_swarm_and_never_an_empty_one() -> None:
    ids = ("a", "b", "c", "d")
    chosen = {seed: tuple(f.id for f in swarm(scenario(*ids), seed).faults) for seed in range(60)}
    assert all(chosen.values())
    assert len(set(chosen.values())) > 5
    assert chosen == {seed: tuple(f.id for f in swarm(scenario(*ids), seed).faults) for seed in range(60)}


def test_all_faults_are_kept_without_swarm() -> None:
    calm = scenario("a", "b").model_copy(update={"swarm": False})
    assert swarm(calm, 1) is calm


def test_a_journal_with_an_arrival_below_0_is_refused_in_one_line(tmp_path: Path) -> None:
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    run.fire("f1", "lookup_miss")
    write_run(run, tmp_path / "run")
    journal = tmp_path / "run" / "control" / "faults-worker-100.jsonl"
    journal.write_text(journal.read_text().replace('"n":0', '"n":-1'))
    with pytest.raises(UsageError, match=r"faults-worker-100\.jsonl:\d+: "):
        replay_of(tmp_path / "run")
