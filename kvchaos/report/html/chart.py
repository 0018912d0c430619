"""A chart as geometry: paths, ticks and marks, and the figures that its readings show. No markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kvchaos.report.html.axis import Scale, Tick, TimeAxis
from kvchaos.report.html.figures import Format
from kvchaos.report.html.thin import Point, thin

NO_DATA = "no data"


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time. Each holds until the next."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Spot:
    """A point to be pointed out."""

    t_ns: int
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as drawn: an SVG path over WIDTH by HEIGHT units, and its figures."""

    label: str
    number: int
    """From 1; gives colour and dashes."""
    path: str
    told: str
    """Least and greatest value in words, or "no data"."""
    readings: list[tuple[float, str | None]]
    """(seconds, value as it is read)."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A spot as drawn, per cent from the left and units from the top."""

    at: float
    top: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart over the run's time."""

    key: str
    """Its place in the page."""
    title: str
    note: str
    """What is drawn, for somebody who has not seen it before."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    signs: list[Sign]
    symbol: str = "▼"
    """What a sign looks like."""

    @property
    def empty(self) -> bool:
        return not any(line.path for line in self.lines) and not self.signs

    @property
    def about(self) -> str:
        """The chart in words, for somebody who does not see it."""
        told = "; ".join(f"{line.label}: {line.told}" for line in self.lines)
        marked = f"; {len(self.signs)} marked" if self.signs else ""
        return f"{self.title}. {told or NO_DATA}{marked}"


def step_chart(
    key: str,
    title: str,
    note: str,
    series: Sequence[Series],
    axis: TimeAxis,
    form: Format,
    *,
    top: float | None = None,
    spots: Sequence[Spot] = (),
) -> Chart:
    """A chart of values that hold until the next. `top` is the least upper end of the scale."""
    thinned = [thin(one.points, axis.start_ns, axis.end_ns) for one in series]
    values = [value for points in thinned for _, value in points if value is not None]
    values += [spot.value for spot in spots]
    scale = Scale.linear([*values, top] if top is not None and values else values)
    return Chart(
        key=key,
        title=title,
        note=note,
        x_ticks=axis.ticks(),
        y_ticks=y_ticks(scale, form) if values else [],
        lines=[
            Line(
                label=one.label,
                number=number,
                path=step_path(points, axis, scale),
                told=told(points, form),
                readings=_read(points, axis, form),
            )
            for number, (one, points) in enumerate(zip(series, thinned, strict=True), start=1)
        ],
        signs=[Sign(axis.share(spot.t_ns), scale.height(spot.value), spot.text) for spot in spots],
    )


def y_ticks(scale: Scale, form: Format) -> list[Tick]:
    return [Tick(at, form(value)) for at, value in scale.ticks()]


def step_path(points: Sequence[Point], axis: TimeAxis, scale: Scale) -> str:
    """Steps from value to value; the line breaks where nothing is known."""
    parts: list[str] = []
    drawing = False
    for t_ns, value in points:
        x = axis.x(t_ns)
        if drawing:
            parts.append(f"H{x}")
        if value is None or not math.isfinite(value):
            drawing = False
            continue
        y = f"{scale.height(value):.4g}"
        parts.append(f"V{y}" if drawing else f"M{x} {y}")
        drawing = True
    return "".join(parts)


def told(points: Sequence[Point], form: Format) -> str:
    """Least and greatest value in words."""
    values = [value for _, value in points if value is not None and math.isfinite(value)]
    if not values:
        return NO_DATA
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def _read(points: Sequence[Point], axis: TimeAxis, form: Format) -> list[tuple[float, str | None]]:
    return [(round(axis.seconds(t_ns), 3), None if value is None else form(value)) for t_ns, value in points]
