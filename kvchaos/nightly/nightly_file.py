"""The file that says what a night measures: `nightly.yaml`, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import msgspec
from pydantic import Field, model_validator

from history.strict_model import Name, Strict, read_model
from history.strict_yaml import BadYaml, Value
from kvchaos.bench.bench_file import FIGURES
from kvchaos.bench.bench_scenarios import BenchScenario, at_rates, bench_scenario
from kvchaos.errors import UsageError
from kvchaos.nightly.detection_power import Procedure
from kvchaos.planning.scenario_file import find_scenario, load_scenario

MAX_WATCHED = 40
"""Series that raise alarms. More of them raise the rate of false alarms and the number of lines to read."""
FIGURE_KEYS = tuple(figure.key for figure in FIGURES)
Step = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1_000_000)]


class NightMeasurement(Strict):
    """One scenario, measured at its own load or at rates."""

    scenario: str
    """Name of a scenario, or path of a scenario file."""
    phase: Name | None = None
    """The phase to measure; None: the last of the role load."""
    rates: tuple[Rate, ...] = ()
    """Arrivals/s; none: the load of the phase."""
    seconds: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Duration of the arrivals at each rate."""
    watch: dict[str, Step]
    """Figures that raise alarms, each with its least step: 0.05 is 5 %. The others are context."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for key in self.watch:
            if key not in FIGURE_KEYS:
                raise ValueError(f"watch: unknown figure {key}; there are {', '.join(FIGURE_KEYS)}")
        if sorted(set(self.rates)) != list(self.rates):
            raise ValueError("rates: give rising rates, each once")
        return self

    @property
    def loads(self) -> list[tuple[str, str | None]]:
        """Scenario and load of its series; None for the load of the default phase."""
        if not self.rates:
            return [(self.scenario, self.phase)]
        return [(self.scenario, f"rate-{rate:g}") for rate in self.rates]

    @property
    def watched(self) -> int:
        """Number of series that raise alarms."""
        return len(self.watch) * max(1, len(self.rates))


class NightlyFile(Strict):
    """What each night measures, in this order."""

    measurements: Annotated[tuple[NightMeasurement, ...], Field(min_length=1)]
    screen_pairs: Annotated[int, Field(ge=6, le=100)] = 6
    confirm_pairs: Annotated[int, Field(ge=12, le=400)] = 18
    control_every: Annotated[int, Field(ge=2, le=365)] = 7
    """Every so many nights the control is measured against itself."""
    seed: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1

    @model_validator(mode="after")
    def _few(self) -> Self:
        watched = sum(each.watched for each in self.measurements)
        if watched > MAX_WATCHED:
            raise ValueError(f"watch: {watched} series raise alarms; {MAX_WATCHED} at most may")
        loads = [load for each in self.measurements for load in each.loads]
        if len(set(loads)) != len(loads):
            raise ValueError("measurements: a scenario is there twice with the same phase or rate")
        return self

    @property
    def procedure(self) -> Procedure:
        """Pairs and thresholds of the two stages."""
        return Procedure(screen_pairs=self.screen_pairs, confirm_pairs=self.confirm_pairs)


def read_nightly_file(path: Path) -> NightlyFile:
    """Raises UsageError with file, key and problem."""
    try:
        return read_model(path, _parse)
    except BadYaml as error:
        raise UsageError(str(error)) from error


def measured_scenario(measurement: NightMeasurement, folder: Path) -> BenchScenario:
    """The scenario of a measurement; a path is relative to the file that names it. Raises UsageError."""
    path = folder / measurement.scenario
    named = path if path.suffix and path.is_file() else find_scenario(measurement.scenario)
    base = bench_scenario(load_scenario(named), measurement.phase)
    if measurement.rates:
        at_rates(
            base, measurement.rates, measurement.seconds
        )  # A mistake is reported before anything starts.
    return base


def _parse(content: Value) -> NightlyFile:
    """By way of JSON, since strict validation of Python objects wants tuples and YAML has none."""
    return NightlyFile.model_validate_json(msgspec.json.encode(content))
