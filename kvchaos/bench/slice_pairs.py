"""Compare two stored runs of the same load: their phases are cut into slices, and each slice is a pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from history.phase_spec import PhaseSpec
from history.reader import History, UnreadableRun, read_history
from history.records import RequestRecord
from history.scenario import WorkloadSpec
from kvchaos.bench.phase_figures import PhaseFigures, phase_figures
from kvchaos.bench.ratios import FigurePair
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import judge
from oracles.speed import Speed, speed_of, speeds
from oracles.views.timeline import by_phase

SLICES = 10
MIN_GOOD_ANSWERS = 5
"""Good answers of a slice."""


def slice_pairs(first: Path, second: Path) -> dict[str, list[FigurePair]]:
    """By phase. Raises UsageError for runs that do not count, or have no phase of the same load."""
    one, other = _read(first), _read(second)
    found: dict[str, list[FigurePair]] = {}
    for speed in speeds(one):
        for counterpart in speeds(other):
            if _load_key(one, speed) == _load_key(other, counterpart):
                slices = (_slices(one, speed), _slices(other, counterpart))
                found[speed.name] = list(zip(*slices, strict=False))
    found = {phase: pairs for phase, pairs in found.items() if pairs}
    if not found:
        needed = f"{SLICES * MIN_GOOD_ANSWERS} good answers"
        raise UsageError(f"{first} and {second}: no phase of the same load and seed, with {needed} in both")
    return found


def _read(run_dir: Path) -> History:
    try:
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    verdict = judge(history)
    if verdict.outcome != "as expected":
        reason = verdict.reasons[0] if verdict.reasons else "no reason was given"
        raise UsageError(f"{run_dir} does not count: {verdict.outcome}: {reason}")
    return history


def _load_key(history: History, speed: Speed) -> tuple[int, PhaseSpec, WorkloadSpec]:
    """Equal for two phases that send the same requests."""
    spec = speed.window.spec
    return history.plan.seed, spec, history.plan.scenario.workloads[spec.workload]


def _slices(history: History, speed: Speed) -> list[PhaseFigures]:
    """A phase in order of when its requests were due, in equal parts; none of one that is too short."""
    records = sorted(by_phase(history).get(speed.name, []), key=attrgetter("intended_ns"))
    bounds = [part * len(records) // SLICES for part in range(SLICES + 1)]
    parts = [records[low:high] for low, high in pairwise(bounds)]
    if any(len(_good(part)) < MIN_GOOD_ANSWERS for part in parts):
        return []
    return [phase_figures(speed_of(speed.window, speed.stage, _good(part)), part, None) for part in parts]


def _good(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [record for record in records if record.outcome == "ok"]
