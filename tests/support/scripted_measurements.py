"""Measured runs by a script, in place of servers and load: figures that depend on server, side and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import pytest

from kvchaos.bench.bench_file import BenchRun
from kvchaos.bench.bench_runner import BenchRunner, BenchTarget, MeasurementInterrupted
from kvchaos.nightly import night_runner
from tests.support.bench_results import bench_run, figures

SPREAD = (1.0, 1.004, 0.997, 1.002, 0.999, 1.003)
"""Factors of the figures of consecutive seeds."""


@dataclass
class ScriptedRuns:
    """What each run gives, and which runs were made."""

    slow: Mapping[str, float] = field(default_factory=dict)
    """Factor of the TTFT, by the name of a server."""
    noise: float = 1.0
    """Factor of the spread between runs."""
    failing: str = ""
    """The server whose runs are not as expected."""
    interrupt_at: int = 10_000
    measured: list[tuple[str, int]] = field(default_factory=list)
    """Server and seed of each run."""

    def measure(self, runner: BenchRunner, target: BenchTarget, seed: int) -> BenchRun:
        """Add a run to the measurement. Raises MeasurementInterrupted."""
        if len(self.measured) >= self.interrupt_at:
            raise MeasurementInterrupted
        name = target.server.name
        self.measured.append((name, seed))
        spread = SPREAD[(seed * 7 + (target.side == "control")) % len(SPREAD)]
        factor = 1 + self.noise * (spread - 1)
        ttft_ms = 50.0 * factor * self.slow.get(name, 1.0)
        failure = "logs: an exception" if name == self.failing else None
        figures_of_phase = (None, figures(ttft_ms=ttft_ms, tokens_per_s=100.0))
        run = bench_run(seed, figures_of_phase, side=target.side, why_not=failure)
        if failure:
            run = msgspec.structs.replace(run, outcome="not as expected")
        runner.bench = msgspec.structs.replace(runner.bench, runs=[*runner.bench.runs, run])
        return run


def script_measurements(monkeypatch: pytest.MonkeyPatch) -> ScriptedRuns:
    """Let each measured run come from the script until the test ends."""
    scripted = ScriptedRuns()

    def measure(runner: BenchRunner, target: BenchTarget, phases: list[str], seed: int) -> BenchRun:
        return scripted.measure(runner, target, seed)

    monkeypatch.setattr(BenchRunner, "measure", measure)
    monkeypatch.setattr(night_runner, "_model_of", lambda run_dir: "tiny")
    return scripted
