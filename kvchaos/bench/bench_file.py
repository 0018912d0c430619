"""The file of a measurement, `bench.json`: all tables, charts and conclusions are computed from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from history.verdict import Outcome
from kvchaos.bench.phase_figures import PhaseFigures
from kvchaos.bench.slo import Slo
from kvchaos.errors import UsageError

FILE = "bench.json"
PAGE = "bench.html"
Kind = Literal["sweep", "slo", "compare"]


class MeasuredPhase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One phase of a run."""

    phase: str
    rate: float | None
    """Arrivals/s that were due, in an open loop of independent arrivals; None: anything else."""
    figures: PhaseFigures

    @property
    def name(self) -> str:
        """As tables call it."""
        return self.phase if self.rate is None else f"{self.rate:g} arrivals/s"


class BenchRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run and what it counts for."""

    run: str
    """Its directory, next to this file."""
    side: str
    """Which of those that are compared; "" where there is but one."""
    seed: int
    """Of the repeat, the pair or the search that it belongs to. The run's own is another on a server that was
    there before."""
    outcome: Outcome
    why_not: str | None
    """Why it does not count as a measurement; None when it does."""
    asked: list[str]
    """Phases that were to be measured."""
    asked_rates: list[float]
    """Of those in an open loop, arrivals/s."""
    phases: list[MeasuredPhase]
    """Empty when it does not count."""


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole measurement."""

    v: Literal[2] = 2
    kind: Kind
    created: str
    """UTC, ISO 8601."""
    scenario: str
    phase: str
    """Of the scenario, which was measured."""
    sides: list[str]
    servers: list[str]
    """Release of each side."""
    chain: int
    """Requests of one arrival: a conversation."""
    slo: Slo | None
    host: str
    kvchaos: str
    git: str
    wanted: list[int]
    """Seeds: each a repeat, a pair or a search."""
    runs: list[BenchRun] = []
    searched: list[int] = []
    """slo: seeds of the searches that came to their end."""

    @property
    def counted(self) -> list[BenchRun]:
        return [run for run in self.runs if run.why_not is None]


_benches = msgspec.json.Decoder(Bench)


def write_bench(bench: Bench, folder: Path) -> None:
    """Raises UsageError."""
    path = folder / FILE
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(bench), indent=2) + b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def read_bench(folder: Path) -> Bench:
    """Raises UsageError."""
    path = folder / FILE
    try:
        return _benches.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; give the folder of a measurement"
        ) from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}") from error
