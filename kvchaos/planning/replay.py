"""The injections of a run as a schedule: the same faults at the same occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history.reader import UnreadableRun, read_faults, read_plan
from history.records import FaultRecord
from history.scenario import ClientKind, Scenario, StackName, Trigger
from kvchaos.errors import UsageError


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to run again."""

    scenario: Scenario
    seed: int
    server: str
    stack: StackName
    client: ClientKind


def replay_of(run_dir: Path) -> ReplayPlan:
    """The run with its faults pinned to the occurrences at which they fired. Raises UsageError."""
    try:
        plan, journal = read_plan(run_dir), read_faults(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    scenario = pin_to_occurrences(plan.scenario, journal)
    return ReplayPlan(scenario, plan.seed, plan.versions.server_name, plan.stack, plan.client)


def fired_occurrences(journal: list[FaultRecord], fault: str) -> tuple[int, ...]:
    """The occurrences at which a fault fired, in ascending order.

    One server process holds each site, so that numbers are not mixed up.
    """
    return tuple(
        sorted(
            record.n
            for record in journal
            if record.event == "fired" and record.fault == fault and record.n is not None
        )
    )


def pin_to_occurrences(scenario: Scenario, journal: list[FaultRecord]) -> Scenario:
    """The scenario with `nth` triggers made of the journal; a fault that never fired is left out."""
    faults = []
    for fault in scenario.faults:
        occurrences = fired_occurrences(journal, fault.id)
        if occurrences:
            # The numbers are those of the arrivals that matched the states.
            trigger = Trigger(nth=occurrences, states=fault.trigger.states)
            faults.append(fault.model_copy(update={"trigger": trigger}))
    # The choice of the swarm is part of what is replayed.
    return scenario.model_copy(update={"faults": tuple(faults), "swarm": False})
