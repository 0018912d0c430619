"""The scenario that a measurement names, on a server at a scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from history.scaling import ScaleName
from history.scenario import Scenario, StackName
from kvchaos.bench.bench_runner import BenchTarget
from kvchaos.bench.bench_scenarios import bench_scenario
from kvchaos.cli.calibrate_command import calibrated_tolerance
from kvchaos.cli.requested_server import sized
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer


@dataclass(frozen=True, slots=True)
class ChosenScenario:
    """A scenario and its phase, as options name them."""

    scenario: Scenario
    phase: str | None
    client_ms: float
    scale: ScaleName | None
    with_faults: bool

    @classmethod
    def named(
        cls,
        name: str,
        phase: str | None,
        client_ms: float,
        scale: ScaleName | None,
        *,
        with_faults: bool = False,
    ) -> ChosenScenario:
        """Raises UsageError for one that cannot be measured."""
        scenario = load_scenario(find_scenario(name))
        bench_scenario(scenario, phase, client_ms, with_faults=with_faults)
        return cls(scenario, phase, client_ms, scale, with_faults)

    def on(self, server: ServerEnv | AttachedServer, stack: StackName, runs: Path | None) -> BenchTarget:
        """The measurement on a server, which on a GPU is calibrated first. Raises UsageError.

        `runs`: folder for the run of a calibration; None is ./runs.
        """
        [(scenario, scaling)] = sized([self.scenario], self.scale, server, every=False)
        base = bench_scenario(scenario, self.phase, self.client_ms, with_faults=self.with_faults)
        folder = runs.absolute() if runs else runs_folder()
        workspace = Workspace(cache=cache_folder(), runs=folder, port=None)
        tolerance = calibrated_tolerance(server, stack, self.scale, workspace, Console(stderr=True))
        return BenchTarget("", base, server, stack, scaling, tolerance)
