"""Two stored runs of the same load beside each other: their phases cut into slices, each slice a pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from history.plan import PhaseSpec, WorkloadSpec
from history.reader import History, UnreadableRun, read_history
from history.records import RequestRecord
from kvchaos.bench.figures import Figures, figures
from kvchaos.bench.ratios import FigurePair
from kvchaos.errors import UsageError
from kvchaos.judging import judge
from oracles.speed import Speed, speed_of, speeds
from oracles.views.timeline import by_phase

SLICES = 10
LEAST = 5
"""Good answers of a slice."""


def slice_pairs(first: Path, second: Path) -> dict[str, list[FigurePair]]:
    """By phase. Raises UsageError for runs that do not count, or have no phase of the same load."""
    one, other = _read(first), _read(second)
    found: dict[str, list[FigurePair]] = {}
    for speed in speeds(one):
        for beside in speeds(other):
            if _load(one, speed) == _load(other, beside):
                slices = (_slices(one, speed), _slices(other, beside))
                found[speed.name] = list(zip(*slices, strict=False))
    found = {phase: pairs for phase, pairs in found.items() if pairs}
    if not found:
        needed = f"{SLICES * LEAST} good answers"
        raise UsageError(f"{first} and {second}: no phase of the same load and seed, with {needed} in both")
    return found


def _read(run_dir: Path) -> History:
    try:
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    verdict = judge(history)
    if verdict.outcome != "as expected":
        told = verdict.reasons[0] if verdict.reasons else "no reason was given"
        raise UsageError(f"{run_dir} does not count: {verdict.outcome}: {told}")
    return history


def _load(history: History, speed: Speed) -> tuple[int, PhaseSpec, WorkloadSpec]:
    """What makes two phases ask the same."""
    spec = speed.window.spec
    return history.plan.seed, spec, history.plan.scenario.workloads[spec.workload]


def _slices(history: History, speed: Speed) -> list[Figures]:
    """A phase in order of when its requests were due, in equal parts; none of one that is too short."""
    records = sorted(by_phase(history).get(speed.name, []), key=attrgetter("intended_ns"))
    bounds = [part * len(records) // SLICES for part in range(SLICES + 1)]
    parts = [records[low:high] for low, high in pairwise(bounds)]
    if any(len(_good(part)) < LEAST for part in parts):
        return []
    return [figures(speed_of(speed.window, speed.stage, _good(part)), part, None) for part in parts]


def _good(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [record for record in records if record.outcome == "ok"]
