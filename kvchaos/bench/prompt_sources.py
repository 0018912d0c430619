"""Where the prompts of a phase came from: computed, found on the device, loaded from the CPU tier. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from history.reader import History, PhaseWindow
from kvchaos.bench.bench_analysis import Interval, figure_named
from kvchaos.bench.bench_file import Bench, MeasuredPhase, PromptSources
from kvchaos.paths import beside_packages
from kvchaos.planning.scenario_file import BENCH, FOLDER
from oracles.laws.law import EXTERNAL_HITS, LOCAL_HITS, PROMPT
from oracles.views.counter_growth import growth_in_phases, load_seconds, loaded_bytes

Source = Literal["computed", "device", "tier"]
SCENARIO = "returning-prompts.yaml"
SOURCES: tuple[Source, ...] = get_args(Source)
MIN_SHARE = 0.75
"""Part of the prompt tokens that comes from the source of a phase; a last block may be computed."""


def prompt_sources(history: History, window: PhaseWindow) -> PromptSources:
    """The tokens by source and the copies of one phase."""
    growth = partial(growth_in_phases, history, [window])
    return PromptSources(
        prompt_tokens=growth(PROMPT),
        device_tokens=growth(LOCAL_HITS),
        tier_tokens=growth(EXTERNAL_HITS),
        loaded_bytes=loaded_bytes(growth),
        load_s=load_seconds(growth),
    )


def sources_scenario() -> Path:
    """The file of the scenario that is measured."""
    return beside_packages(FOLDER) / BENCH / SCENARIO


def measured_phases(names: list[str]) -> list[str]:
    """The phases with a source in their name: `LENGTH-SOURCE`."""
    return [name for name in names if name.rpartition("-")[2] in SOURCES]


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """One length and source, over all runs that count."""

    length: str
    source: Source
    prompt_tokens: float | None
    """Of one prompt."""
    share: float | None
    """Least part of the prompt tokens that came from the source; None where unknown."""
    ttft_ms: Interval
    computed_over: Interval | None
    """TTFT of the computed prompts over this one, run by run."""
    gb_per_s: Interval | None
    """Bandwidth of the copies from the tier."""

    @property
    def is_from_source(self) -> bool:
        """Whether the prompts really came from there."""
        return self.share is not None and self.share >= MIN_SHARE


def source_figures(bench: Bench) -> Iterator[SourceFigures]:
    """By length in the order of the phases, then by source. Nothing of runs that do not count."""
    runs = [{phase.phase: phase for phase in run.phases} for run in bench.counted]
    names = list(runs[0]) if runs else []
    for length in dict.fromkeys(name.rpartition("-")[0] for name in names):
        for source in SOURCES:
            phases = [run[f"{length}-{source}"] for run in runs]
            computed = [run[f"{length}-computed"] for run in runs]
            yield _figures(length, source, phases, computed)


def _figures(
    length: str, source: Source, phases: list[MeasuredPhase], computed: list[MeasuredPhase]
) -> SourceFigures:
    first = phases[0]
    tokens = None if first.sources is None else first.sources.prompt_tokens
    shares = [_share(phase, source) for phase in phases]
    ratios = [_ttft(one) / _ttft(other) for one, other in zip(computed, phases, strict=True)]
    rates = [rate for phase in phases if phase.sources and (rate := phase.sources.gb_per_s) is not None]
    return SourceFigures(
        length=length,
        source=source,
        prompt_tokens=None if tokens is None else tokens / first.figures.requests,
        share=None if None in shares else min(share for share in shares if share is not None),
        ttft_ms=Interval.of([_ttft(phase) for phase in phases]),
        computed_over=Interval.of(ratios) if source != "computed" else None,
        gb_per_s=Interval.of(rates) if rates and source == "tier" else None,
    )


def _share(phase: MeasuredPhase, source: Source) -> float | None:
    sources = phase.sources
    if sources is None:
        return None
    device, tier = sources.share(sources.device_tokens), sources.share(sources.tier_tokens)
    if source == "device":
        return device
    if source == "tier":
        return tier
    return None if device is None or tier is None else 1 - device - tier


def _ttft(phase: MeasuredPhase) -> float:
    median = figure_named("TTFT, median").of(phase.figures)
    assert median is not None  # A phase that counts has a good answer.
    return median
