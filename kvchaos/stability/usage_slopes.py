"""Slopes of a server's memory, descriptors and latencies over the runs of one server. Pure.

The estimator is that of Theil and Sen with its interval of 95 %, by scipy: one outlier does not bend it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

from kvchaos.stability.campaign_records import CampaignRun, ServerUsage, UsageSlope

S_PER_H = 3600.0
MIB = 1 << 20
LEAST_RUNS = 8
"""Runs of one scenario on one server below which there is no slope."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class UsageFigure:
    """What is followed over the runs."""

    name: str
    unit: str
    of: Callable[[ServerUsage], float | None]
    room: float
    """Growth over the whole time that means nothing, in the unit."""
    relative: bool = False
    """The room is a share of the first value."""


FIGURES = (
    UsageFigure("memory", "MiB", lambda usage: usage.memory_bytes / MIB, 64.0),
    UsageFigure("open files", "files", lambda usage: usage.files, 8.0),
    UsageFigure("sockets", "sockets", lambda usage: usage.sockets, 8.0),
    UsageFigure("threads", "threads", lambda usage: usage.threads, 32.0),
    UsageFigure("TTFT", "ms", lambda usage: usage.ttft_ms, 0.2, relative=True),
    UsageFigure("ITL", "ms", lambda usage: usage.itl_ms, 0.2, relative=True),
)
"""The rooms of counts are those of the oracle `resources`."""


def usage_slopes(runs: Sequence[CampaignRun]) -> list[UsageSlope]:
    """A slope for each figure of each scenario on each server that served enough runs of it."""
    by_series: dict[tuple[str, str], list[ServerUsage]] = defaultdict(list)
    for run in runs:
        if run.usage is not None and run.infrastructure is None:
            by_series[run.usage.life, run.scenario].append(run.usage)
    return [
        slope
        for (life, scenario), usages in by_series.items()
        if len(usages) >= LEAST_RUNS
        for slope in _slopes(life, scenario, usages)
    ]


def _slopes(life: str, scenario: str, usages: Sequence[ServerUsage]) -> Iterator[UsageSlope]:
    hours = (usages[-1].t_s - usages[0].t_s) / S_PER_H
    for figure in FIGURES:
        points = [(usage.t_s / S_PER_H, value) for usage in usages if (value := figure.of(usage)) is not None]
        if len(points) >= LEAST_RUNS and hours > 0:
            times, values = zip(*points, strict=True)
            found = theilslopes(values, times, alpha=CONFIDENCE)
            room = figure.room * values[0] if figure.relative else figure.room
            yield UsageSlope(
                life=life,
                scenario=scenario,
                figure=figure.name,
                unit=figure.unit,
                runs=len(points),
                hours=round(hours, 3),
                first=round(values[0], 3),
                per_hour=round(float(found.slope), 4),
                low=round(float(found.low_slope), 4),
                high=round(float(found.high_slope), 4),
                grows=bool(found.low_slope * hours > room),
            )


def slope_text(slope: UsageSlope) -> str:
    """One slope in a phrase."""
    return (
        f"{slope.figure} of {slope.scenario} {slope.per_hour:+.3g} {slope.unit}/h "
        f"({slope.low:+.3g} to {slope.high:+.3g}) over {slope.runs} runs in {slope.hours:.2f} h"
    )
