"""Fresh pairs of any two builds for one series, as the search for the first slow build needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from history.scenario import StackName
from kvchaos.bench.bench_runner import BenchRunner, BenchTarget, LoadOptions, bench_of, new_folder
from kvchaos.bench.bench_scenarios import BenchScenario, at_rates
from kvchaos.bench.procedures import measure_pair
from kvchaos.errors import UsageError
from kvchaos.nightly.build_bisection import BuildUnusable
from kvchaos.nightly.night_series import CANDIDATE, CONTROL, series_name, series_of
from kvchaos.nightly.nightly_file import FIGURE_KEYS, NightlyFile, NightMeasurement
from kvchaos.paths import Workspace
from kvchaos.servers.server_registry import ServerEnv


@dataclass(frozen=True, slots=True)
class SeriesTarget:
    """A series of the file: its measurement, its scenario at its load, and its name."""

    measurement: NightMeasurement
    base: BenchScenario
    series: str


def find_series(name: str, file: NightlyFile, scenarios: Sequence[BenchScenario]) -> SeriesTarget:
    """The measurement of a series. Raises UsageError for one that the file does not have."""
    for measurement, base in zip(file.measurements, scenarios, strict=True):
        if name in series_names(measurement, base):
            loaded = at_rates(base, measurement.rates, measurement.seconds) if measurement.rates else base
            return SeriesTarget(measurement, loaded, name)
    every = [each for pair in zip(file.measurements, scenarios, strict=True) for each in series_names(*pair)]
    raise UsageError(f"{name}: the file has no such series; there are {', '.join(every)}")


def series_names(measurement: NightMeasurement, base: BenchScenario) -> list[str]:
    """All series of a measurement."""
    loads = [f"rate-{rate:g}" for rate in measurement.rates] or [base.phase.name]
    return [f"{base.scenario.name}/{load}/{key}" for load in loads for key in FIGURE_KEYS]


class BuildPairs:
    """Measures pairs of builds; each pair has a seed of its own. All runs are in one folder."""

    def __init__(
        self,
        target: SeriesTarget,
        servers: Mapping[str, ServerEnv],
        first_seed: int,
        workspace: Workspace,
        console: Console,
        stack: StackName = "local",
    ) -> None:
        """`servers` by the name of each build."""
        self._target = target
        self._servers = servers
        self._seed = first_seed
        self._workspace = workspace
        self._console = console
        self._stack = stack
        self.folder = new_folder("compare", target.base.scenario.name, workspace.runs)

    def measure(self, control: str, candidate: str, count: int) -> list[float]:
        """Slowdowns of so many pairs. Raises BuildUnusable when a run of a build does not count."""
        seeds = range(self._seed, self._seed + count)
        self._seed += count
        folder = self.folder / f"{control}-{candidate}-{seeds.start}"
        folder.mkdir()
        targets = (self._of(CONTROL, control), self._of(CANDIDATE, candidate))
        bench = bench_of("compare", self._target.base, targets, None, seeds)
        runner = BenchRunner(bench, folder, self._workspace, LoadOptions(), self._console)
        phases = max(len(self._target.measurement.rates), 1)
        for number, seed in enumerate(seeds):
            for run in measure_pair(runner, targets, seed, number, phases):
                if run.why_not is not None:
                    build = control if run.side == CONTROL else candidate
                    raise BuildUnusable(build, f"{run.outcome}: {run.why_not}")
        scenario = self._target.base.scenario.name
        found = {
            series_name(scenario, each.load, each.figure): each for each in series_of(runner.bench, seeds)
        }
        if self._target.series not in found:
            raise BuildUnusable(candidate, f"no run has {self._target.series}")
        return found[self._target.series].slowdowns

    def _of(self, side: str, build: str) -> BenchTarget:
        return BenchTarget(side, self._target.base, self._servers[build], self._stack)
