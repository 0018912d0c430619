"""A measurement in words and tables, for the terminal and the page alike. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kvchaos.bench.figures import FIGURES, Figure
from kvchaos.bench.interval import CONFIDENCE, ENOUGH, Interval
from kvchaos.bench.points import Point, knee, named, points
from kvchaos.bench.ratios import FigurePair, Ratio, pairs, ratios
from kvchaos.bench.search import brackets, held
from kvchaos.bench.store import Bench
from kvchaos.report.html.figures import NOTHING, number

GOODPUT = "goodput"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with its heading."""

    heading: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def sheets(bench: Bench) -> list[Sheet]:
    """All tables of a measurement; none while nothing counts."""
    match bench.kind:
        case "slo":
            return [_probes(bench)] if bench.runs else []
        case "compare":
            at_rates = any(run.asked_rates for run in bench.runs)
            return [*sheets_of(pairs(bench)), *(_curves(bench) if at_rates else [])]
        case "sweep":
            return _curves(bench)


def conclusions(bench: Bench) -> list[str]:
    """What is found, then what it does not rest on."""
    found = {"slo": _highest, "sweep": _knees, "compare": _compared}[bench.kind](bench)
    return [*found, *_counting(bench)]


def missing(bench: Bench) -> list[int]:
    """Seeds whose repeat, pair or search is not whole."""
    if bench.kind == "slo":
        whole = {bracket.seed for bracket in brackets(bench)}
    else:
        by_side = [{run.seed for run in bench.counted if run.side == side} for side in bench.sides]
        whole = set.intersection(*by_side)
    return [seed for seed in bench.wanted if seed not in whole]


def spread(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    if interval.count == 1:
        return number(interval.median)
    return f"{number(interval.median)} [{number(interval.low)}, {number(interval.high)}]"


def _curves(bench: Bench) -> list[Sheet]:
    """One row a phase, a table a side."""
    shown = [figure for figure in FIGURES if bench.slo is not None or figure.name != GOODPUT]
    found = []
    for side in bench.sides:
        rows = [_point_row(point, shown) for point in points(bench) if point.side == side]
        headings = ("arrivals/s", *(f"{figure.name} ({figure.unit})" for figure in shown), "runs")
        if rows:
            found.append(Sheet(side or "over rates; medians, in brackets their intervals", headings, rows))
    return found


def _point_row(point: Point, shown: Sequence[Figure]) -> list[str]:
    rate = point.phase if point.rate is None else number(point.rate)
    return [rate, *(spread(point.interval(figure)) for figure in shown), str(len(point.measured))]


def _probes(bench: Bench) -> Sheet:
    words = {True: "holds", False: "fails"}
    rows = []
    for run in bench.counted:
        word = held(bench, run)
        for phase in run.phases:
            figures = phase.figures
            if phase.rate is None or word is None:
                continue
            times = [str(one) for one in (figures.ttft_ms, figures.itl_ms, figures.e2el_ms)]
            share = NOTHING if figures.good_share is None else f"{figures.good_share:.3f}"
            rows.append([str(run.seed), number(phase.rate), share, words[word], *times])
    headings = ("seed", "rate", "good", "SLO", "TTFT (ms)", "ITL (ms)", "E2EL (ms)")
    return Sheet("rates tried; times are median / 99th percentile", headings, rows)


def sheets_of(pairs_by_phase: dict[str, list[FigurePair]]) -> list[Sheet]:
    """A table of ratios for each phase."""
    headings = ("figure", "first", "second", "ratio", f"{CONFIDENCE:.0%} interval", "pairs", "second is")
    return [
        Sheet(
            f"{phase}: second over first",
            headings,
            [_ratio_row(one) for one in ratios(phase, measured)],
        )
        for phase, measured in pairs_by_phase.items()
    ]


def _ratio_row(one: Ratio) -> list[str]:
    medians = [f"{number(side.median)} {one.figure.unit}" for side in (one.first, one.second)]
    bounds = f"{one.ratio.low:.3f} to {one.ratio.high:.3f}"
    return [one.figure.name, *medians, f"{one.ratio.median:.3f}", bounds, str(one.ratio.count), one.word]


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
        throughput = spread(there.interval(named("throughput")))
        yield f"{of_side}knee at {number(at)} arrivals/s: {throughput} tokens/s; beyond, the rest only waits"


def _highest(bench: Bench) -> Iterator[str]:
    found = brackets(bench)
    if bench.slo is None or not found:
        return
    told = f"{bench.slo}"
    holding = [one.holds for one in found if one.holds is not None]
    if len(holding) < len(found):
        lowest = min(one.fails for one in found if one.holds is None and one.fails is not None)
        searches = len(found) - len(holding)
        yield f"{told}: not even held at {number(lowest)} arrivals/s (searches: {searches})"
    if holding:
        open_end = " or more" if any(one.fails is None for one in found) else ""
        at = spread(Interval.of(holding))
        yield f"{told}: held up to {at} arrivals/s{open_end} (searches: {len(holding)})"


def _compared(bench: Bench) -> Iterator[str]:
    yield f"first: {bench.sides[0]}; second: {bench.sides[1]}"
    yield from _knees(bench)


def _counting(bench: Bench) -> Iterator[str]:
    if bench.wanted and len(bench.wanted) < ENOUGH:
        yield (
            f"intervals: of fewer than {ENOUGH} repeats they are about the range, "
            f"and cover less than {CONFIDENCE:.0%}"
        )
    for run in bench.runs:
        if run.why_not is not None:
            yield f"{run.run} does not count: {run.outcome}: {run.why_not}"
    lost = missing(bench)
    if lost:
        yield f"not whole: nothing was measured with seed {', '.join(map(str, lost))}"
