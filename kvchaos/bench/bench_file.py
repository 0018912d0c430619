"""The file of a measurement, `bench.json`: figures of phases, runs and what they count for, the SLO.

All tables, charts and conclusions are computed from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import asdict

from history.latency import Quantiles, e2el_ms, tpot_ms, ttft_ms
from history.records import RequestRecord
from history.verdict import Outcome
from kvchaos.errors import UsageError
from oracles.speed import Speed
from oracles.views.timeline import NS_PER_S, end_ns


class PhaseFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast a server was in a phase. Latencies and rates are of its good answers."""

    requests: int
    ok: int
    ttft_ms: Quantiles
    itl_ms: Quantiles
    e2el_ms: Quantiles
    tokens_per_s: float | None
    """Generated tokens, from the first start to the last end."""
    requests_per_s: float | None
    good_share: float | None = None
    """Of all requests: those that hold the SLO. None where none was given."""
    goodput_per_s: float | None = None
    """Requests/s that hold it."""


def phase_figures(speed: Speed, records: Sequence[RequestRecord], slo: Slo | None) -> PhaseFigures:
    """Figures of a phase with at least one good answer. `records`: all of the phase."""
    seconds = serving_s(speed.ok)
    good = slo.count(records) if slo is not None else None
    return PhaseFigures(
        requests=len(records),
        ok=len(speed.ok),
        ttft_ms=speed.ttft,
        itl_ms=speed.itl,
        e2el_ms=Quantiles.of(map(e2el_ms, speed.ok)),
        tokens_per_s=speed.tokens_per_s,
        requests_per_s=len(speed.ok) / seconds,
        good_share=None if good is None else good / len(records),
        goodput_per_s=None if good is None else good / seconds,
    )


def serving_s(ok: Sequence[RequestRecord]) -> float:
    """Seconds from the first start to the last end, as for tokens a second."""
    return (max(map(end_ns, ok)) - min(record.start_ns for record in ok)) / NS_PER_S


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures."""

    key: str
    """Its name in files and identifiers."""
    name: str
    """Its name in tables."""
    unit: str
    more_is_better: bool
    of: Callable[[PhaseFigures], float | None]


FIGURES: tuple[Figure, ...] = (
    Figure("ttft-median", "TTFT, median", "ms", False, lambda one: one.ttft_ms.median),
    Figure("ttft-p99", "TTFT, p99", "ms", False, lambda one: one.ttft_ms.p99),
    Figure("itl-median", "ITL, median", "ms", False, lambda one: one.itl_ms.median),
    Figure("itl-p99", "ITL, p99", "ms", False, lambda one: one.itl_ms.p99),
    Figure("e2el-median", "E2EL, median", "ms", False, lambda one: one.e2el_ms.median),
    Figure("e2el-p99", "E2EL, p99", "ms", False, lambda one: one.e2el_ms.p99),
    Figure("throughput", "throughput", "tokens/s", True, lambda one: one.tokens_per_s),
    Figure("requests", "requests", "requests/s", True, lambda one: one.requests_per_s),
    Figure("goodput", "goodput", "requests/s", True, lambda one: one.goodput_per_s),
)


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on each request, ms, as history/latency.py defines them; None: no bound."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None
    share: float = 0.99
    """So many of all requests must be good, those that failed among them."""

    @property
    def bounds(self) -> list[tuple[str, float]]:
        """The bounds that are set, by the name of their metric."""
        named = (("TTFT", self.ttft_ms), ("TPOT", self.tpot_ms), ("E2EL", self.e2el_ms))
        return [(name, bound) for name, bound in named if bound is not None]

    def __str__(self) -> str:
        bounds = ", ".join(f"{name} at most {bound:g} ms" for name, bound in self.bounds)
        return f"{bounds} for {self.share:.4g} of the requests"

    def good(self, record: RequestRecord) -> bool:
        """Whether a request ended well and within all bounds."""
        if record.outcome != "ok":
            return False
        measured = (
            (ttft_ms(record), self.ttft_ms),
            (tpot_ms(record), self.tpot_ms),
            (e2el_ms(record), self.e2el_ms),
        )
        return all(bound is None or value is None or value <= bound for value, bound in measured)

    def count(self, records: Sequence[RequestRecord]) -> int:
        """How many are good."""
        return sum(map(self.good, records))


FILE = "bench.json"
PAGE = "bench.html"
Kind = Literal["sweep", "slo", "compare", "sources"]


class PromptSources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the prompt tokens of a phase came from, and the copies from the tier, by the server's counters.

    None where the release has no such counter, or no scrape bounds the phase.
    """

    prompt_tokens: float | None
    device_tokens: float | None
    """Found in the device's prefix cache."""
    tier_tokens: float | None
    """Loaded from the offload tier."""
    loaded_bytes: float | None
    load_s: float | None
    """Sum over all copies, which may overlap."""

    def share(self, tokens: float | None) -> float | None:
        """Part of the prompt tokens; None where either is unknown."""
        return None if tokens is None or not self.prompt_tokens else tokens / self.prompt_tokens

    @property
    def gb_per_s(self) -> float | None:
        """Bandwidth of the copies; None without any."""
        return self.loaded_bytes / self.load_s / 1e9 if self.loaded_bytes and self.load_s else None


class MeasuredPhase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One phase of a run."""

    phase: str
    rate: float | None
    """Arrivals/s that were due, in an open loop of independent arrivals; None: anything else."""
    figures: PhaseFigures
    sources: PromptSources | None = None
    """None in files of earlier versions."""

    @property
    def name(self) -> str:
        """Name of the phase in tables."""
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
    requested: list[str]
    """Phases that were to be measured."""
    requested_rates: list[float]
    """Of those in an open loop, arrivals/s."""
    phases: list[MeasuredPhase]
    """Empty when it does not count."""
    client_us_per_request: float | None = None
    """Processor time of the load workers for a request of these phases; None in files of earlier versions."""


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="v", tag=3):
    """A whole measurement."""

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
    runs: Sequence[BenchRun] = ()
    searched: list[int] = []
    """slo: seeds of the searches that came to their end."""
    bus_gb_per_s: float | None = None
    """sources: bandwidth of the bus of the GPUs in one direction; None where it is unknown."""

    @property
    def counted(self) -> list[BenchRun]:
        """The runs that count."""
        return [run for run in self.runs if run.why_not is None]


class BenchRunV2(BenchRun, frozen=True, kw_only=True):
    """A run as version 2 stored it."""

    requested: list[str] = msgspec.field(name="asked")
    requested_rates: list[float] = msgspec.field(name="asked_rates")


class BenchV2(Bench, frozen=True, kw_only=True, tag=2):
    """A measurement as version 2 stored it."""

    runs: Sequence[BenchRunV2] = ()

    def of_today(self) -> Bench:
        """The measurement as today's version stores it."""
        runs = [BenchRun(**asdict(run)) for run in self.runs]
        return Bench(**{**asdict(self), "runs": runs})


_benches = msgspec.json.Decoder(Bench | BenchV2)


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
        found = _benches.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; give the folder of a measurement"
        ) from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}") from error
    return found.of_today() if isinstance(found, BenchV2) else found
