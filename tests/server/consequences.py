"""Whether faults that fired show their consequences, and answers differ nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from history.reader import History
from history.records import FaultRecord
from oracles.answer_comparison import compare
from oracles.effects.checks import missing_effect
from oracles.faults_fired import is_real


@dataclass(frozen=True)
class Doubt:
    """Something that a fault should have done, or should not have."""

    kind: str
    """A short name of it."""
    text: str


def doubts(history: History, damaged: Collection[str]) -> Iterator[Doubt]:
    """Faults without a consequence, and answers that differ in a phase that is not among the `damaged`."""
    scenario = history.plan.scenario
    for fault in scenario.faults:
        fired = fired_by(history, fault.id)
        if not fired:
            yield Doubt("never-fired", f"{fault.id} never fired with effect")
        elif doubt := missing_effect(history, fault, fired, {scenario.phase_of(fault)}):
            yield Doubt(doubt.kind, f"{fault.id} fired {len(fired)} times, but {doubt}")
    elsewhere = [
        comparison.record.id
        for comparison in compare(history)
        if comparison.difference is not None and comparison.record.phase not in damaged
    ]
    if elsewhere:
        where = f"outside {', '.join(damaged)}"
        yield Doubt("damage-elsewhere", f"{len(elsewhere)} answers {where} differ, the first {elsewhere[0]}")


def fired_by(history: History, fault: str) -> list[FaultRecord]:
    """The firings of a fault that changed something."""
    return [
        record
        for record in history.faults
        if record.event == "fired" and record.fault == fault and is_real(record)
    ]
