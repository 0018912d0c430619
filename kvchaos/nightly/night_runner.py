"""One night: every measurement of the file, candidate against control, within the budget."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from history.reader import UnreadableRun, read_plan
from history.scenario import StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos import __version__
from kvchaos.bench.bench_runner import (
    BenchRunner,
    BenchTarget,
    LoadOptions,
    MeasurementInterrupted,
    bench_of,
    new_folder,
)
from kvchaos.bench.bench_scenarios import BenchScenario, at_rates
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.errors import UsageError
from kvchaos.matrix.digests import installed_code
from kvchaos.nightly.decision import decide
from kvchaos.nightly.detection_power import PairNoise
from kvchaos.nightly.night_identity import machine_identity, series_identity, server_build
from kvchaos.nightly.night_measuring import StageSeeds, StageTests, measure_stages
from kvchaos.nightly.night_records import (
    Digest,
    MeasuredScenario,
    Night,
    NightKind,
    NightPoint,
    PairRuns,
    Stage,
)
from kvchaos.nightly.night_series import (
    CANDIDATE,
    CONTROL,
    SeriesPairs,
    paired_runs,
    series_name,
    series_of,
)
from kvchaos.nightly.nightly_file import NightlyFile, NightMeasurement
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import UNKNOWN, git_state
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer

ROOT = Path(__file__).parents[2]
SEEDS_OF_A_SECOND = 1_000
"""Distance of the first seeds of two nights that begin a second apart."""
DEFAULT_LOAD = LoadOptions()
NightServer = ServerEnv | AttachedServer


@dataclass(frozen=True, slots=True)
class EarlierNights:
    """What the history says of a series: its accepted slowdown, and the noise of its pairs."""

    accepted: Callable[[str, Digest], float]
    noise: Callable[[str, Digest], PairNoise]


@dataclass(frozen=True, slots=True)
class NightSetup:
    """What is measured against what, and with what."""

    file: NightlyFile
    scenarios: Sequence[BenchScenario]
    """Of each measurement of the file."""
    candidate: NightServer
    control: NightServer
    kind: NightKind
    budget_s: float
    workspace: Workspace
    stack: StackName = "local"
    load: LoadOptions = DEFAULT_LOAD


class NightRunner:
    """Measures one night, and keeps what it measured until it is read."""

    def __init__(self, setup: NightSetup, earlier: EarlierNights, console: Console) -> None:
        self.points: list[NightPoint] = []
        self.interrupted = False
        self._setup = setup
        self._earlier = earlier
        self._console = console
        self._began = datetime.now(UTC)
        self._budget = RunBudget(setup.budget_s)
        self._machine = machine_identity()
        self._control = server_build(setup.control)
        self._measured: list[MeasuredScenario] = []
        self._client_us: list[float] = []
        self._model = UNKNOWN
        self._complete = True

    @property
    def night(self) -> str:
        """The night's id: its start."""
        return _moment(self._began)

    @property
    def _first_seed(self) -> int:
        """The seed of the file; on a running server, which may know earlier prompts, one of this night."""
        if CAPABILITIES[self._setup.stack].starts_server:
            return self._setup.file.seed
        return self._setup.file.seed + int(self._began.timestamp()) * SEEDS_OF_A_SECOND

    def run(self) -> Night:
        """Measure until the last measurement, the end of the budget, or a signal. Raises UsageError."""
        for measurement, base in zip(self._setup.file.measurements, self._setup.scenarios, strict=True):
            if self.interrupted or not self._budget.fits():
                self._complete = False
                break
            self._measure(measurement, base)
        setup = self._setup
        return Night(
            night=self.night,
            kind=setup.kind,
            candidate=server_build(setup.candidate),
            control=self._control,
            machine=self._machine,
            model=self._model,
            kvchaos=f"{__version__} {git_state(ROOT)}",
            client_us_per_request=statistics.median(self._client_us) if self._client_us else None,
            ended=_moment(datetime.now(UTC)),
            budget_s=setup.budget_s,
            screen_pairs=setup.file.screen_pairs,
            confirm_pairs=setup.file.confirm_pairs,
            complete=self._complete,
            measured=self._measured,
        )

    def _measure(self, measurement: NightMeasurement, base: BenchScenario) -> None:
        setup, plan = self._setup, self._setup.file.procedure
        seeds = StageSeeds.of(self._first_seed, plan)
        loaded = at_rates(base, measurement.rates, measurement.seconds) if measurement.rates else base
        targets = (
            BenchTarget(CONTROL, loaded, setup.control, setup.stack),
            BenchTarget(CANDIDATE, loaded, setup.candidate, setup.stack),
        )
        bench = bench_of("compare", base, targets, None, [*seeds.screen, *seeds.confirm])
        folder = new_folder("compare", bench.scenario, setup.workspace.runs)
        runner = BenchRunner(bench, folder, setup.workspace, setup.load, self._console)
        scenario = bench.scenario

        def accepted(series: SeriesPairs) -> float:
            identity = self._identity(runner, loaded)
            return self._earlier.accepted(series_name(scenario, series.load, series.figure), identity)

        tests = StageTests(least_steps(measurement), plan, accepted)
        try:
            phases = max(len(measurement.rates), 1)
            if not measure_stages(runner, targets, seeds, phases, tests, self._budget):
                self._complete = False
        except MeasurementInterrupted:
            self.interrupted, self._complete = True, False
        self._add(runner, seeds, measurement, loaded)

    def _add(
        self,
        runner: BenchRunner,
        seeds: StageSeeds,
        measurement: NightMeasurement,
        loaded: BenchScenario,
    ) -> None:
        bench = runner.bench
        costs = (run.client_us_per_request for run in bench.counted)
        self._client_us.extend(cost for cost in costs if cost is not None)
        identity = self._identity(runner, loaded)
        self._measured.append(_measured_scenario(runner, measurement, identity, seeds))
        watch = least_steps(measurement)
        fresh = {(each.load, each.figure.key): each for each in series_of(bench, seeds.confirm)}
        for series in series_of(bench, seeds.screen):
            confirmed = fresh.get((series.load, series.figure.key))
            self.points.append(self._point(bench.scenario, series, confirmed, watch, identity))

    def _point(
        self,
        scenario: str,
        screen: SeriesPairs,
        confirm: SeriesPairs | None,
        watch: Mapping[str, float],
        identity: Digest,
    ) -> NightPoint:
        name = series_name(scenario, screen.load, screen.figure)
        least = watch.get(screen.figure.key)
        fresh = confirm.slowdowns if confirm is not None else []
        accepted = self._earlier.accepted(name, identity)
        noise = self._earlier.noise(name, identity)
        plan = self._setup.file.procedure
        return NightPoint(
            night=self.night,
            series=name,
            role="context" if least is None else "watch",
            identity=identity,
            least_step=least,
            accepted=accepted,
            screen=screen.slowdowns,
            confirm=fresh,
            control=screen.control,
            candidate=screen.candidate,
            unit=screen.figure.unit,
            decision=None if least is None else decide(screen.slowdowns, fresh, least, plan, noise, accepted),
        )

    def _identity(self, runner: BenchRunner, loaded: BenchScenario) -> Digest:
        """Of a measurement; the model is known from its first run that counts."""
        if counted := runner.bench.counted:
            self._model = _model_of(runner.folder / counted[0].run)
        setup = self._setup
        load = (setup.stack, setup.load.client, setup.load.workers)
        return series_identity(
            self._machine, self._control, loaded.scenario, self._model, installed_code(), load
        )


def least_steps(measurement: NightMeasurement) -> dict[str, float]:
    """The least step of each watched figure, a logarithm."""
    return {key: math.log1p(step) for key, step in measurement.watch.items()}


def _measured_scenario(
    runner: BenchRunner, measurement: NightMeasurement, identity: Digest, seeds: StageSeeds
) -> MeasuredScenario:
    bench = runner.bench
    stages: tuple[tuple[Stage, range], ...] = (("screen", seeds.screen), ("confirm", seeds.confirm))
    return MeasuredScenario(
        scenario=bench.scenario,
        identity=identity,
        folder=runner.folder.name,
        phase=measurement.phase,
        rates=measurement.rates,
        seconds=measurement.seconds if measurement.rates else None,
        pairs=[
            PairRuns(stage=stage, seed=control.seed, control=control.run, candidate=candidate.run)
            for stage, chosen in stages
            for control, candidate in paired_runs(bench, chosen)
        ],
        excluded=[f"{run.run}: {run.outcome}: {run.why_not}" for run in bench.runs if run.why_not],
    )


def _model_of(run_dir: Path) -> str:
    try:
        return read_plan(run_dir).versions.model
    except UnreadableRun as error:
        raise UsageError(str(error)) from error


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
