"""A measurement as a page of its own, `bench.html`, with curves over rates as geometry.

It opens in any browser, from disk and without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kvchaos.bench.bench_analysis import THROUGHPUT, CurvePoint, Interval, figure_named, points
from kvchaos.bench.bench_file import Bench
from kvchaos.bench.bench_tables import conclusions, tables
from kvchaos.report.html.axis import HEIGHT, WIDTH, Format, Scale, Tick, milliseconds, number
from kvchaos.report.html.report_page import environment, resource, source_hash
from kvchaos.report.verdict_text import clean


def page_html(bench: Bench) -> str:
    """Pure: the same measurement gives the same page."""
    style = resource("style.css")
    on = " and ".join(bench.sides) if any(bench.sides) else bench.servers[0]
    return clean(
        environment()
        .get_template("bench.html")
        .render(
            bench=bench,
            on=on,
            title=f"kvchaos bench {bench.kind}: {bench.scenario} on {on}",
            style=Markup(style),
            style_hash=source_hash(style),
            conclusions=conclusions(bench),
            charts=curve_charts(bench),
            tables=tables(bench),
            versions=version_lines(bench),
        )
    )


def version_lines(bench: Bench) -> list[str]:
    """What was measured, with what."""
    phase = f"phase {bench.phase} of {bench.scenario}, {bench.created}"
    return [phase, f"vLLM {', '.join(bench.servers)}", f"kvchaos {bench.kvchaos} ({bench.git})", bench.host]


FigureOf = Callable[[CurvePoint], Interval | None]
DataPoint = tuple[Interval, Interval]
"""The x value and the y value."""


@dataclass(frozen=True, slots=True)
class PlottedPoint:
    """One rate: its position in per cent from the left and from the top, and the bounds of its intervals."""

    at: float
    left: float
    right: float
    top: float
    upper: float
    lower: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure of one side, over the rates."""

    label: str
    number: int
    """From 1; gives colour and dashes."""
    path: str
    """Over WIDTH by HEIGHT units."""
    dots: list[PlottedPoint]


@dataclass(frozen=True, slots=True)
class CurveChart:
    """One figure against another."""

    key: str
    title: str
    note: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]

    @property
    def about(self) -> str:
        """A text alternative of the chart."""
        curves = [f"{curve.label}: {', '.join(dot.text for dot in curve.dots)}" for curve in self.curves]
        return f"{self.title}. {'; '.join(curves) or 'no data'}"


@dataclass(frozen=True, slots=True)
class _ChartSpec:
    """The axes and the figures of a chart."""

    key: str
    title: str
    note: str
    x_title: str
    x_value: FigureOf
    y_values: Mapping[str, FigureOf]
    form: Format
    """Format of the y values."""
    scale: Callable[[Iterable[float]], Scale]


def _figure(name: str) -> FigureOf:
    figure = figure_named(name)
    return lambda point: point.interval(figure)


def _rate(point: CurvePoint) -> Interval | None:
    return None if point.rate is None else Interval(point.rate, point.rate, point.rate, 1)


def _latency(key: str, figure: str, note: str) -> _ChartSpec:
    return _ChartSpec(
        key=key,
        title=f"{figure} against throughput",
        note=f"{note} Logarithmic.",
        x_title="tokens/s",
        x_value=_figure(THROUGHPUT),
        y_values={"median": _figure(f"{figure}, median"), "99th percentile": _figure(f"{figure}, p99")},
        form=milliseconds,
        scale=Scale.log,
    )


CHART_SPECS = (
    _latency("curve-ttft", "TTFT", "From when a request was due."),
    _latency("curve-itl", "ITL", "Between two events that carry tokens."),
    _ChartSpec(
        key="curve-rates",
        title="Throughput against the rate",
        note="While a server keeps up this is a straight line.",
        x_title="arrivals/s",
        x_value=_rate,
        y_values={"tokens/s": _figure(THROUGHPUT)},
        form=number,
        scale=Scale.linear,
    ),
)


def curve_charts(bench: Bench) -> list[CurveChart]:
    """All charts of a measurement at two or more rates; none with fewer."""
    shown = [point for point in points(bench) if point.rate is not None]
    if len({point.rate for point in shown}) < 2:
        return []
    return [_chart(spec, shown) for spec in CHART_SPECS]


def _chart(spec: _ChartSpec, shown: Sequence[CurvePoint]) -> CurveChart:
    data = {
        f"{side}: {name}" if side else name: list(_data_points(spec.x_value, value, side, shown))
        for side in dict.fromkeys(point.side for point in shown)
        for name, value in spec.y_values.items()
    }
    xs = Scale.linear(end for found in data.values() for x, _ in found for end in (x.low, x.high))
    ys = spec.scale(end for found in data.values() for _, y in found for end in (y.low, y.high))
    return CurveChart(
        key=spec.key,
        title=spec.title,
        note=spec.note,
        x_title=spec.x_title,
        x_ticks=[Tick(HEIGHT - from_top, number(value)) for from_top, value in xs.ticks()],
        y_ticks=[Tick(from_top, spec.form(value)) for from_top, value in ys.ticks()],
        curves=[
            Curve(label, order, _path(dots), dots)
            for order, (label, found) in enumerate(data.items(), start=1)
            if (dots := [_plotted(x, y, xs, ys, spec.form) for x, y in found])
        ],
    )


def _data_points(
    x_value: FigureOf, y_value: FigureOf, side: str, shown: Sequence[CurvePoint]
) -> Iterator[DataPoint]:
    for point in shown:
        x, y = x_value(point), y_value(point)
        if point.side == side and x is not None and y is not None:
            yield x, y


def _plotted(x: Interval, y: Interval, xs: Scale, ys: Scale, form: Format) -> PlottedPoint:
    return PlottedPoint(
        at=HEIGHT - xs.height(x.median),
        left=HEIGHT - xs.height(x.low),
        right=HEIGHT - xs.height(x.high),
        top=ys.height(y.median),
        upper=ys.height(y.high),
        lower=ys.height(y.low),
        text=f"{form(y.median)} at {number(x.median)}",
    )


def _path(dots: Sequence[PlottedPoint]) -> str:
    """An SVG path from dot to dot, in the order of the rates."""
    return "".join(
        f"{'L' if index else 'M'}{dot.at * WIDTH / 100:.5g} {dot.top:.4g}" for index, dot in enumerate(dots)
    )
