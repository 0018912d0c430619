"""Measured runs: conducted and judged like any other run, or stored already; those as expected count."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import msgspec
from rich.console import Console

from history.events import PhaseEnd
from history.phase_spec import PhaseSpec, Poisson
from history.reader import History, UnreadableRun, read_history
from history.records import RequestRecord
from history.scaling import Scaling
from history.scenario import ClientKind, StackName, WorkloadSpec
from history.stack_capabilities import CAPABILITIES
from history.verdict import RunVerdict
from kvchaos import __version__
from kvchaos.bench.bench_analysis import FigurePair
from kvchaos.bench.bench_file import (
    Bench,
    BenchRun,
    Kind,
    MeasuredPhase,
    PhaseFigures,
    Slo,
    phase_figures,
    write_bench,
)
from kvchaos.bench.bench_scenarios import BenchScenario
from kvchaos.bench.prompt_sources import prompt_sources
from kvchaos.campaign.campaign import run_one
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import judge, judge_run_dir
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest, git_state, host, make_run_dir
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer
from oracles.speed import Speed, speed_of, speeds
from oracles.views.timeline import by_phase

ROOT = Path(__file__).parents[2]
ATTEMPTS = 2
"""A run whose outcome is unknown, for example because the client was the limit, is repeated once."""
SEED_STRIDE = 1_000_003
"""Distance of the seeds of runs on an attached server: its cache may hold the prompts of earlier runs."""


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """The scenario to measure and the server to measure it on."""

    side: str
    base: BenchScenario
    server: ServerEnv | AttachedServer
    stack: StackName = "local"
    scaling: Scaling | None = None
    logprob_tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The load generator: number of workers, and the client that they use."""

    workers: int = 1
    client: ClientKind = "openai"


class MeasurementInterrupted(Exception):
    """A signal ended the measurement."""


class BenchRunner:
    """Conducts the runs of one measurement in its folder, and writes the result of each at once."""

    def __init__(
        self, bench: Bench, folder: Path, workspace: Workspace, load_options: LoadOptions, console: Console
    ) -> None:
        """`workspace` gives the cache and the port; the runs are written into `folder`."""
        self.bench = bench
        self.folder = folder
        self._workspace = replace(workspace, runs=folder)
        self._load_options = load_options
        self._console = console
        write_bench(bench, folder)

    def measure(self, target: BenchTarget, phases: Sequence[str], seed: int) -> BenchRun:
        """A run that counts, if one of two attempts gives one. Raises UsageError, MeasurementInterrupted."""
        for _ in range(ATTEMPTS):
            run = self._run_once(target, phases, seed)
            if run.why_not is None or run.outcome != "unknown":
                break
        return run

    def _run_once(self, target: BenchTarget, phases: Sequence[str], seed: int) -> BenchRun:
        earlier_runs = (
            0
            if CAPABILITIES[target.stack].starts_server
            else sum(run.side == target.side for run in self.bench.runs)
        )
        request = RunRequest(
            scenario=target.base.scenario,
            server=target.server,
            seed=seed + earlier_runs * SEED_STRIDE,
            workers=self._load_options.workers,
            stack=target.stack,
            client=self._load_options.client,
            scaling=target.scaling,
            logprob_tolerance=target.logprob_tolerance,
            altered=True,
        )
        run_dir, interrupted = run_one(request, self._workspace, self._console)
        run = measure_stored_run(run_dir, phases, seed, target.side, self.bench.slo)
        self.bench = msgspec.structs.replace(self.bench, runs=[*self.bench.runs, run])
        write_bench(self.bench, self.folder)
        if interrupted:
            raise MeasurementInterrupted
        if run.why_not is not None:
            line = f"{run.run} does not count: {run.outcome}: {run.why_not}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        return run

    def complete_search(self, seed: int) -> None:
        """Record that the search of this seed is complete."""
        self.bench = msgspec.structs.replace(self.bench, searched=[*self.bench.searched, seed])
        write_bench(self.bench, self.folder)


def measure_stored_run(
    run_dir: Path, requested: Sequence[str], seed: int, side: str, slo: Slo | None
) -> BenchRun:
    """Judge a stored run again and compute its figures. Writes its verdict. Raises UsageError."""
    try:
        verdict = judge_run_dir(run_dir)
        history = read_history(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error
    why_not = _excluded_reason(verdict) or _incomplete_reason(history, requested)
    return BenchRun(
        run=run_dir.name,
        side=side,
        seed=seed,
        outcome=verdict.outcome,
        why_not=why_not,
        requested=list(requested),
        requested_rates=[
            phase.arrivals.rate
            for phase in history.plan.scenario.phases
            if phase.name in requested and isinstance(phase.arrivals, Poisson)
        ],
        phases=[] if why_not else [_measured(speed, history, slo) for speed in _speeds(history, requested)],
        client_us_per_request=_client_us_per_request(history, requested),
    )


def _client_us_per_request(history: History, phases: Sequence[str]) -> float | None:
    requests = sum(record.phase in phases for record in history.requests)
    cpu_us = sum(record.cpu_us for record in history.client if record.phase in phases)
    return cpu_us / requests if requests and cpu_us else None


def new_folder(kind: Kind, scenario: str, runs: Path) -> Path:
    """The folder of a measurement, in which its runs lie, too. Raises UsageError."""
    moment = datetime.now(UTC)
    return make_run_dir(runs, f"bench-{kind}-{scenario}-{moment:%m%d-%H%M%S}-{secrets.token_hex(2)}")


def bench_of(
    kind: Kind, base: BenchScenario, targets: Sequence[BenchTarget], slo: Slo | None, seeds: Sequence[int]
) -> Bench:
    """A measurement before its first run."""
    return Bench(
        kind=kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        scenario=base.scenario.name,
        phase=base.phase.name,
        sides=[target.side for target in targets],
        servers=[target.server.vllm for target in targets],
        chain=base.chain,
        slo=slo,
        host=host(),
        kvchaos=__version__,
        git=git_state(ROOT),
        wanted=list(seeds),
    )


def remeasure(bench: Bench, folder: Path) -> Bench:
    """Recompute a measurement from its stored runs. Raises UsageError."""
    runs = [
        measure_stored_run(folder / run.run, run.requested, run.seed, run.side, bench.slo)
        for run in bench.runs
    ]
    return msgspec.structs.replace(bench, runs=runs)


def _excluded_reason(verdict: RunVerdict) -> str | None:
    """Why a run is excluded: only one that went as expected measures the speed of a server."""
    if verdict.outcome == "as expected":
        return None
    return verdict.reasons[0] if verdict.reasons else "no reason was given"


def _incomplete_reason(history: History, phases: Sequence[str]) -> str | None:
    ended = {event.data.phase for event in history.events_of(PhaseEnd) if event.data.reason == "done"}
    found = {speed.name for speed in _speeds(history, phases) if speed.ok}
    for phase in phases:
        if phase not in ended:
            return f"phase {phase} did not come to its end"
        if phase not in found:
            return f"phase {phase} has no good answer"
    return None


def _speeds(history: History, phases: Sequence[str]) -> list[Speed]:
    return [speed for speed in speeds(history) if speed.name in phases]


def _measured(speed: Speed, history: History, slo: Slo | None) -> MeasuredPhase:
    arrivals = speed.window.spec.arrivals
    return MeasuredPhase(
        phase=speed.name,
        rate=arrivals.rate if isinstance(arrivals, Poisson) else None,
        figures=phase_figures(speed, by_phase(history)[speed.name], slo),
        sources=prompt_sources(history, speed.window),
    )


SLICES = 10
MIN_GOOD_ANSWERS = 5
"""Good answers of a slice."""


def slice_pairs(first: Path, second: Path) -> dict[str, list[FigurePair]]:
    """Pairs of slices by phase. Raises UsageError for runs that do not count, or without an equal phase."""
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
    records = sorted(by_phase(history).get(speed.name, []), key=attrgetter("scheduled_ns"))
    bounds = [part * len(records) // SLICES for part in range(SLICES + 1)]
    parts = [records[low:high] for low, high in pairwise(bounds)]
    if any(len(_good(part)) < MIN_GOOD_ANSWERS for part in parts):
        return []
    return [phase_figures(speed_of(speed.window, speed.stage, _good(part)), part, None) for part in parts]


def _good(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [record for record in records if record.outcome == "ok"]
