"""Curves over rates as geometry: latency against throughput, throughput against the rate. No markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kvchaos.bench.interval import Interval
from kvchaos.bench.points import THROUGHPUT, Point, named, points
from kvchaos.bench.store import Bench
from kvchaos.report.html.axis import HEIGHT, WIDTH, Scale, Tick
from kvchaos.report.html.figures import Format, milliseconds, number

Value = Callable[[Point], Interval | None]
Place = tuple[Interval, Interval]
"""Across and up."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One rate, per cent from the left and from the top, with the reach of its intervals."""

    at: float
    left: float
    right: float
    top: float
    upper: float
    lower: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure of one side."""

    label: str
    number: int
    """From 1; gives colour and dashes."""
    path: str
    """Over WIDTH by HEIGHT units."""
    dots: list[Dot]


@dataclass(frozen=True, slots=True)
class Drawing:
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
        """The drawing in words, for somebody who does not see it."""
        told = [f"{curve.label}: {', '.join(dot.text for dot in curve.dots)}" for curve in self.curves]
        return f"{self.title}. {'; '.join(told) or 'no data'}"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is drawn against what."""

    key: str
    title: str
    note: str
    x_title: str
    across: Value
    up: Mapping[str, Value]
    form: Format
    """Of the values going up."""
    scale: Callable[[Iterable[float]], Scale]


def _figure(name: str) -> Value:
    figure = named(name)
    return lambda point: point.interval(figure)


def _rate(point: Point) -> Interval | None:
    return None if point.rate is None else Interval(point.rate, point.rate, point.rate, 1)


def _latency(key: str, figure: str, note: str) -> _Wish:
    return _Wish(
        key=key,
        title=f"{figure} against throughput",
        note=f"{note} Logarithmic.",
        x_title="tokens/s",
        across=_figure(THROUGHPUT),
        up={"median": _figure(f"{figure}, median"), "99th percentile": _figure(f"{figure}, p99")},
        form=milliseconds,
        scale=Scale.log,
    )


WISHES = (
    _latency("curve-ttft", "TTFT", "From when a request was due."),
    _latency("curve-itl", "ITL", "Between two events that carry tokens."),
    _Wish(
        key="curve-rates",
        title="Throughput against the rate",
        note="While a server keeps up this is a straight line.",
        x_title="arrivals/s",
        across=_rate,
        up={"tokens/s": _figure(THROUGHPUT)},
        form=number,
        scale=Scale.linear,
    ),
)


def drawings(bench: Bench) -> list[Drawing]:
    """All drawings of a measurement at several rates; none of one with less."""
    shown = [point for point in points(bench) if point.rate is not None]
    if len({point.rate for point in shown}) < 2:
        return []
    return [_drawing(wish, shown) for wish in WISHES]


def _drawing(wish: _Wish, shown: Sequence[Point]) -> Drawing:
    placed = {
        f"{side}: {name}" if side else name: list(_places(wish.across, value, side, shown))
        for side in dict.fromkeys(point.side for point in shown)
        for name, value in wish.up.items()
    }
    xs = Scale.linear(end for places in placed.values() for x, _ in places for end in (x.low, x.high))
    ys = wish.scale(end for places in placed.values() for _, y in places for end in (y.low, y.high))
    return Drawing(
        key=wish.key,
        title=wish.title,
        note=wish.note,
        x_title=wish.x_title,
        x_ticks=[Tick(HEIGHT - from_top, number(value)) for from_top, value in xs.ticks()],
        y_ticks=[Tick(from_top, wish.form(value)) for from_top, value in ys.ticks()],
        curves=[
            Curve(label, order, _path(dots), dots)
            for order, (label, places) in enumerate(placed.items(), start=1)
            if (dots := [_dot(x, y, xs, ys, wish.form) for x, y in places])
        ],
    )


def _places(across: Value, up: Value, side: str, shown: Sequence[Point]) -> Iterator[Place]:
    for point in shown:
        x, y = across(point), up(point)
        if point.side == side and x is not None and y is not None:
            yield x, y


def _dot(x: Interval, y: Interval, xs: Scale, ys: Scale, form: Format) -> Dot:
    return Dot(
        at=HEIGHT - xs.height(x.median),
        left=HEIGHT - xs.height(x.low),
        right=HEIGHT - xs.height(x.high),
        top=ys.height(y.median),
        upper=ys.height(y.high),
        lower=ys.height(y.low),
        text=f"{form(y.median)} at {number(x.median)}",
    )


def _path(dots: Sequence[Dot]) -> str:
    """From dot to dot in the order of the rates."""
    return "".join(
        f"{'L' if place else 'M'}{dot.at * WIDTH / 100:.5g} {dot.top:.4g}" for place, dot in enumerate(dots)
    )
