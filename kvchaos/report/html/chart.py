"""A chart as geometry: paths, ticks and marks, and the figures that its readings show. No markup."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from kvchaos.report.html.axis import Format, Scale, Tick, TimeAxis

NO_DATA = "no data"


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """Values over time. Each holds until the next."""

    label: str
    points: Sequence[SeriesPoint]


@dataclass(frozen=True, slots=True)
class MarkedSample:
    """A sample that the chart marks."""

    t_ns: int
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A series as drawn: an SVG path over WIDTH by HEIGHT units, and its figures."""

    label: str
    number: int
    """Number from 1; gives colour and dashes."""
    path: str
    value_range: str
    """Least and greatest value as text, or "no data"."""
    readings: list[tuple[float, str | None]]
    """(seconds, value as it is read)."""


@dataclass(frozen=True, slots=True)
class ChartMarker:
    """A marked sample as drawn: per cent from the left, units from the top."""

    at: float
    top: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart over the run's time."""

    key: str
    """Id of its element in the page."""
    title: str
    note: str
    """An explanation for a reader who does not know the chart."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[ChartLine]
    markers: list[ChartMarker]
    symbol: str = "▼"
    """The symbol of a marker."""

    @property
    def empty(self) -> bool:
        """Whether there is neither a line nor a marker."""
        return not any(line.path for line in self.lines) and not self.markers

    @property
    def about(self) -> str:
        """A text alternative of the chart."""
        ranges = "; ".join(f"{line.label}: {line.value_range}" for line in self.lines)
        marked = f"; {len(self.markers)} marked" if self.markers else ""
        return f"{self.title}. {ranges or NO_DATA}{marked}"


def step_chart(
    key: str,
    title: str,
    note: str,
    series: Sequence[ChartSeries],
    axis: TimeAxis,
    form: Format,
    *,
    top: float | None = None,
    samples: Sequence[MarkedSample] = (),
) -> Chart:
    """A chart of values that hold until the next. `top` is the least upper end of the scale."""
    thinned = [downsample(one.points, axis.start_ns, axis.end_ns) for one in series]
    values = [value for points in thinned for _, value in points if value is not None]
    values += [sample.value for sample in samples]
    scale = Scale.linear([*values, top] if top is not None and values else values)
    return Chart(
        key=key,
        title=title,
        note=note,
        x_ticks=axis.ticks(),
        y_ticks=y_ticks(scale, form) if values else [],
        lines=[
            ChartLine(
                label=one.label,
                number=number,
                path=step_path(points, axis, scale),
                value_range=value_range_text(points, form),
                readings=_read(points, axis, form),
            )
            for number, (one, points) in enumerate(zip(series, thinned, strict=True), start=1)
        ],
        markers=[
            ChartMarker(axis.share(sample.t_ns), scale.height(sample.value), sample.text)
            for sample in samples
        ],
    )


def y_ticks(scale: Scale, form: Format) -> list[Tick]:
    """Ticks of the vertical axis, as text."""
    return [Tick(at, form(value)) for at, value in scale.ticks()]


def step_path(points: Sequence[SeriesPoint], axis: TimeAxis, scale: Scale) -> str:
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


def value_range_text(points: Sequence[SeriesPoint], form: Format) -> str:
    """Least and greatest value as text."""
    values = [value for _, value in points if value is not None and math.isfinite(value)]
    if not values:
        return NO_DATA
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def _read(points: Sequence[SeriesPoint], axis: TimeAxis, form: Format) -> list[tuple[float, str | None]]:
    return [(round(axis.seconds(t_ns), 3), None if value is None else form(value)) for t_ns, value in points]


SeriesPoint = tuple[int, float | None]
"""(wall clock ns, value); None: nothing is known from here on."""
BUCKETS = 400


def downsample(
    points: Sequence[SeriesPoint], start_ns: int, end_ns: int, buckets: int = BUCKETS
) -> list[SeriesPoint]:
    """At most five points for each of so many equal buckets; unchanged when there are few points.

    The points are in order of time.
    """
    if len(points) <= buckets:
        return list(points)
    width = max((end_ns - start_ns) / buckets, 1.0)
    kept: list[SeriesPoint] = []
    for _, group in groupby(points, key=lambda point: int((point[0] - start_ns) / width)):
        kept.extend(_extremes(list(group)))
    return kept


def _extremes(points: list[SeriesPoint]) -> Iterator[SeriesPoint]:
    """First, lowest, highest, last, and the first gap, in order of time and each once."""
    known = [(value, index) for index, (_, value) in enumerate(points) if value is not None]
    indexes = {0, len(points) - 1}
    if known:
        indexes |= {min(known)[1], max(known)[1]}
    gap = next((index for index, (_, value) in enumerate(points) if value is None), None)
    if gap is not None:
        indexes.add(gap)
    for index in sorted(indexes):
        yield points[index]
