"""Tables and conclusions of a measurement, for the terminal and for the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kvchaos.bench.bench_analysis import (
    CONFIDENCE,
    MIN_REPEATS,
    CurvePoint,
    FigurePair,
    Interval,
    Ratio,
    brackets,
    figure_named,
    knee,
    pairs,
    points,
    ratios,
    slo_met,
)
from kvchaos.bench.bench_file import FIGURES, Bench, Figure
from kvchaos.bench.prompt_sources import SourceFigures, source_figures
from kvchaos.report.html.axis import NO_VALUE, number

GOODPUT = "goodput"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its heading."""

    heading: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(bench: Bench) -> list[Table]:
    """All tables of a measurement; none while nothing counts."""
    match bench.kind:
        case "slo":
            return [_probe_table(bench)] if bench.runs else []
        case "compare":
            at_rates = any(run.requested_rates for run in bench.runs)
            return [*ratio_tables(pairs(bench)), *(_curve_tables(bench) if at_rates else [])]
        case "sources":
            return [_source_table(bench)] if bench.counted else []
        case "sweep":
            return _curve_tables(bench)


def conclusions(bench: Bench) -> list[str]:
    """The conclusions, then their caveats."""
    by_kind = {"slo": _highest, "sweep": _knees, "compare": _compared, "sources": _returns}
    return [*by_kind[bench.kind](bench), *_caveats(bench)]


def missing_seeds(bench: Bench) -> list[int]:
    """Seeds whose repeat, pair or search is incomplete."""
    if bench.kind == "slo":
        whole = {bracket.seed for bracket in brackets(bench)}
    else:
        by_side = [{run.seed for run in bench.counted if run.side == side} for side in bench.sides]
        whole = set.intersection(*by_side)
    return [seed for seed in bench.wanted if seed not in whole]


def with_interval(interval: Interval | None) -> str:
    """A median with its interval in brackets; the median alone for one value."""
    if interval is None:
        return NO_VALUE
    if interval.count == 1:
        return number(interval.median)
    return f"{number(interval.median)} [{number(interval.low)}, {number(interval.high)}]"


def _curve_tables(bench: Bench) -> list[Table]:
    """One row a phase, a table a side."""
    shown = [figure for figure in FIGURES if bench.slo is not None or figure.name != GOODPUT]
    found = []
    for side in bench.sides:
        rows = [_point_row(point, shown) for point in points(bench) if point.side == side]
        headings = ("arrivals/s", *(f"{figure.name} ({figure.unit})" for figure in shown), "runs")
        if rows:
            found.append(Table(side or "over rates; medians, in brackets their intervals", headings, rows))
    return found


def _point_row(point: CurvePoint, shown: Sequence[Figure]) -> list[str]:
    rate = point.phase if point.rate is None else number(point.rate)
    return [rate, *(with_interval(point.interval(figure)) for figure in shown), str(len(point.measured))]


def _probe_table(bench: Bench) -> Table:
    labels = {True: "holds", False: "fails"}
    rows = []
    for run in bench.counted:
        met = slo_met(bench, run)
        for phase in run.phases:
            figures = phase.figures
            if phase.rate is None or met is None:
                continue
            times = [str(one) for one in (figures.ttft_ms, figures.itl_ms, figures.e2el_ms)]
            share = NO_VALUE if figures.good_share is None else f"{figures.good_share:.3f}"
            rows.append([str(run.seed), number(phase.rate), share, labels[met], *times])
    headings = ("seed", "rate", "good", "SLO", "TTFT (ms)", "ITL (ms)", "E2EL (ms)")
    return Table("rates tried; times are median / 99th percentile", headings, rows)


def _source_table(bench: Bench) -> Table:
    headings = (
        "prompts",
        "tokens",
        "from",
        "share from there",
        "TTFT (ms)",
        "computed / this",
        "copies (GB/s)",
        "runs",
    )
    rows = [_source_row(each) for each in source_figures(bench)]
    return Table("TTFT by source of the prompt; medians, in brackets their intervals", headings, rows)


def _source_row(each: SourceFigures) -> list[str]:
    return [
        each.length,
        NO_VALUE if each.prompt_tokens is None else number(each.prompt_tokens),
        each.source,
        NO_VALUE if each.share is None else f"{each.share:.0%}",
        with_interval(each.ttft_ms),
        with_interval(each.computed_over),
        with_interval(each.gb_per_s),
        str(each.ttft_ms.count),
    ]


def ratio_tables(pairs_by_phase: dict[str, list[FigurePair]]) -> list[Table]:
    """A table of ratios for each phase."""
    headings = ("figure", "first", "second", "ratio", f"{CONFIDENCE:.0%} interval", "pairs", "second is")
    return [
        Table(
            f"{phase}: second over first",
            headings,
            [_ratio_row(one) for one in ratios(phase, measured)],
        )
        for phase, measured in pairs_by_phase.items()
    ]


def _ratio_row(one: Ratio) -> list[str]:
    medians = [f"{number(side.median)} {one.figure.unit}" for side in (one.first, one.second)]
    bounds = f"{one.ratio.low:.3f} to {one.ratio.high:.3f}"
    return [
        one.figure.name,
        *medians,
        f"{one.ratio.median:.3f}",
        bounds,
        str(one.ratio.count),
        one.significance,
    ]


def _knees(bench: Bench) -> Iterator[str]:
    for side in bench.sides:
        curve = [point for point in points(bench) if point.side == side and point.rate is not None]
        if not curve:
            continue
        of_side = f"{side}: " if side else ""
        at = knee(curve)
        if at is None:
            highest = max(point.rate or 0.0 for point in curve)
            yield f"{of_side}no knee: throughput grows with the rate up to {number(highest)} arrivals/s"
            continue
        there = next(point for point in curve if point.rate == at)
        throughput = with_interval(there.interval(figure_named("throughput")))
        yield f"{of_side}knee at {number(at)} arrivals/s: {throughput} tokens/s; beyond, the rest only waits"


def _highest(bench: Bench) -> Iterator[str]:
    found = brackets(bench)
    if bench.slo is None or not found:
        return
    slo = f"{bench.slo}"
    holding = [one.holds for one in found if one.holds is not None]
    if len(holding) < len(found):
        lowest = min(one.fails for one in found if one.holds is None and one.fails is not None)
        searches = len(found) - len(holding)
        yield f"{slo}: not met even at {number(lowest)} arrivals/s (searches: {searches})"
    if holding:
        open_end = " or more" if any(one.fails is None for one in found) else ""
        at = with_interval(Interval.of(holding))
        yield f"{slo}: met up to {at} arrivals/s{open_end} (searches: {len(holding)})"


def _compared(bench: Bench) -> Iterator[str]:
    yield f"first: {bench.sides[0]}; second: {bench.sides[1]}"
    yield from _knees(bench)


def _returns(bench: Bench) -> Iterator[str]:
    """What a returning prompt gains by each source, and how the copies compare with the bus."""
    figures = list(source_figures(bench))
    for each in figures:
        if not each.is_from_source:
            share = "an unknown part" if each.share is None else f"only {each.share:.0%}"
            yield f"{each.length} {each.source}: {share} of the prompt tokens was {each.source}: no result"
        elif each.computed_over is not None:
            gain = with_interval(each.computed_over)
            yield f"{each.length} prompts: computed TTFT is {gain} times that from the {each.source}"
    rates = [each.gb_per_s.median for each in figures if each.gb_per_s is not None and each.is_from_source]
    if rates and bench.bus_gb_per_s is not None:
        yield (
            f"copies from the tier reach {number(max(rates))} GB/s, "
            f"{max(rates) / bench.bus_gb_per_s:.0%} of the bus"
        )
    elif rates:
        yield f"copies from the tier reach {number(max(rates))} GB/s; the bandwidth of the bus is unknown"


def _caveats(bench: Bench) -> Iterator[str]:
    if bench.wanted and len(bench.wanted) < MIN_REPEATS:
        yield (
            f"intervals: of fewer than {MIN_REPEATS} repeats they are about the range, "
            f"and cover less than {CONFIDENCE:.0%}"
        )
    for run in bench.runs:
        if run.why_not is not None:
            yield f"{run.run} does not count: {run.outcome}: {run.why_not}"
    lost = missing_seeds(bench)
    if lost:
        yield f"not whole: nothing was measured with seed {', '.join(map(str, lost))}"
