"""The chart of one series over the nights, as geometry: slowdowns with intervals, noise, changes, breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from kvchaos.nightly.detection_power import NO_NOISE, PairNoise
from kvchaos.nightly.night_changes import TrackedChange
from kvchaos.nightly.night_records import ChangeEvent, Night, NightKind, NightPoint
from kvchaos.nightly.night_report import SeriesReport, change_percent, signed
from kvchaos.report.html.axis import WIDTH, Scale, Tick, percent

TICKS = 5
HALF_DAY_S = 43_200.0
NORMAL_95 = 1.96
SYMBOLS: Mapping[ChangeEvent, str] = {"opened": "▲", "confirmed": "", "accepted": "A", "fixed": "✓"}
FASTER = "▼"


@dataclass(frozen=True, slots=True)
class NoiseBand:
    """Where equal builds are: per cent from the left and the top."""

    left: float
    width: float
    top: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class NightMark:
    """An event at one night: per cent from the left."""

    at: float
    symbol: str
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class NightChart:
    """Paths over WIDTH by HEIGHT units."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    zero: float
    """Per cent from the top."""
    intervals: str
    candidates: str
    controls: str
    """Nights that measured the control against itself."""
    latest: str
    """The last night."""
    accepted: str
    thresholds: list[float]
    """The least step above and below the accepted level of the last night: per cent from the top."""
    bands: list[NoiseBand]
    marks: list[NightMark]
    breaks: list[NightMark]
    about: str


class NightAxis:
    """The nights along the horizontal axis, by date."""

    def __init__(self, nights: Sequence[Night]) -> None:
        self.kinds: Mapping[str, NightKind] = {night.night: night.kind for night in nights}
        times = {night.night: datetime.fromisoformat(night.night).timestamp() for night in nights}
        first, last = min(times.values()), max(times.values())
        # Half a night at each side, so that no dot is cut.
        self._margin = (last - first) / (len(times) - 1) / 2 if last > first else HALF_DAY_S
        self._start, self._span = first - self._margin, last - first + 2 * self._margin
        self.shares = {night: (time - self._start) / self._span * 100 for night, time in times.items()}
        self.half = self._margin / self._span * 100

    def ticks(self) -> list[Tick]:
        """Dates, evenly spaced."""
        ends = (self._start + self._margin, self._start + self._span - self._margin)
        count = min(TICKS, len(self.shares))
        times = [ends[0] + (ends[1] - ends[0]) * n / max(count - 1, 1) for n in range(count)]
        dates = [datetime.fromtimestamp(time, UTC) for time in times]
        return [
            Tick(
                (time - self._start) / self._span * 100,
                f"{date:%b} {date.day}" if self._span > 6 * HALF_DAY_S else f"{date:%H:%M}",
            )
            for time, date in zip(times, dates, strict=True)
        ]


def night_chart(row: SeriesReport, axis: NightAxis) -> NightChart:
    """The chart of a watched series."""
    shown = [(point, *bounds) for point in row.points if (bounds := _bounds(point)) is not None]
    bands = list(_control_noise(row.points, axis))
    scale = Scale.linear(
        change_percent(value)
        for value in (
            *(middle for _, _, middle, _ in shown),
            *(shown[-1][1:] if shown else ()),
            *(point.accepted for point in row.points),
            *(sign * half for _, half in bands for sign in (-1, 1)),
            *_thresholds(row.point),
        )
    )

    def top(slowdown: float) -> float:
        return scale.height(change_percent(slowdown))

    def dots(kind: NightKind) -> str:
        chosen = (each for each in shown if axis.kinds[each[0].night] == kind)
        return "".join(f"M{_x(axis, point)} {top(middle):.4g}h.01" for point, _, middle, _ in chosen)

    return NightChart(
        x_ticks=axis.ticks(),
        y_ticks=[Tick(at, percent(value)) for at, value in scale.ticks()],
        zero=top(0.0),
        intervals="".join(
            f"M{_x(axis, point)} {top(low):.4g}V{top(high):.4g}" for point, low, _, high in shown
        ),
        candidates=dots("comparison"),
        controls=dots("control"),
        latest="".join(f"M{_x(axis, point)} {top(middle):.4g}h.01" for point, _, middle, _ in shown[-1:]),
        accepted=_level_path(row.points, axis, scale),
        thresholds=[top(value) for value in _thresholds(row.point)],
        bands=[_band(points, half, axis, scale) for points, half in bands],
        marks=[mark for change in row.changes for mark in _marks(row.series, change, axis)],
        breaks=list(_breaks(row.points, axis)),
        about=f"Slowdown of {row.series} over {len(shown)} nights; last {signed(row.slowdown)}, {row.result}",
    )


def _bounds(point: NightPoint) -> tuple[float, float, float] | None:
    """Low, middle and high, the accepted slowdown included."""
    decision = point.decision
    if decision is None or decision.slowdown is None or decision.low is None or decision.high is None:
        return None
    return (
        decision.low + point.accepted,
        decision.slowdown + point.accepted,
        decision.high + point.accepted,
    )


def _thresholds(point: NightPoint) -> list[float]:
    if point.least_step is None:
        return []
    return [point.accepted - point.least_step, point.accepted + point.least_step]


def _x(axis: NightAxis, point: NightPoint) -> str:
    return f"{axis.shares[point.night] * WIDTH / 100:.4g}"


def _segments(points: Sequence[NightPoint]) -> Iterator[list[NightPoint]]:
    """Points of one identity in a row."""
    for _, group in groupby(points, key=lambda point: point.identity):
        yield list(group)


def _control_noise(points: Sequence[NightPoint], axis: NightAxis) -> Iterator[tuple[list[NightPoint], float]]:
    """For each identity with control nights the half width that holds 95 % of the means of equal builds."""
    for segment in _segments(points):
        noise = NO_NOISE
        for point in segment:
            if axis.kinds[point.night] == "control":
                noise = noise.plus(PairNoise.of(point.screen))
        if noise.freedom and segment[-1].screen:
            yield segment, NORMAL_95 * noise.deviation / math.sqrt(len(segment[-1].screen))


def _band(points: Sequence[NightPoint], half: float, axis: NightAxis, scale: Scale) -> NoiseBand:
    left, right = axis.shares[points[0].night] - axis.half, axis.shares[points[-1].night] + axis.half
    upper, lower = scale.height(change_percent(half)), scale.height(change_percent(-half))
    text = f"control nights: 95 % of the means of equal builds are within {signed(half)} of zero"
    return NoiseBand(left, right - left, upper, lower - upper, text)


def _level_path(points: Sequence[NightPoint], axis: NightAxis, scale: Scale) -> str:
    """Steps of the accepted slowdown; nothing where none was ever accepted, or on control nights."""
    compared = [point for point in points if axis.kinds[point.night] == "comparison"]
    parts = []
    for level, group in groupby(compared, key=lambda point: point.accepted):
        nights = list(group)
        if level:
            left = (axis.shares[nights[0].night] - axis.half) * WIDTH / 100
            right = (axis.shares[nights[-1].night] + axis.half) * WIDTH / 100
            parts.append(f"M{left:.5g} {scale.height(change_percent(level)):.4g}H{right:.5g}")
    return "".join(parts)


def _marks(series: str, change: TrackedChange, axis: NightAxis) -> Iterator[NightMark]:
    for line in change.lines:
        concerned = not line.series or series in line.series
        symbol = SYMBOLS[line.event]
        if not symbol or not concerned or line.night not in axis.shares:
            continue
        style: str = line.event
        if line.event == "opened":
            symbol, style = (symbol, "regressed") if change.direction == "regressed" else (FASTER, "improved")
        reason = f": {line.reason}" if line.reason else ""
        text = f"{line.night[:10]} {change.id} {line.event}{reason}"
        yield NightMark(axis.shares[line.night], symbol, style, text)


def _breaks(points: Sequence[NightPoint], axis: NightAxis) -> Iterator[NightMark]:
    segments = list(_segments(points))
    for segment in segments[1:]:
        first = segment[0]
        text = f"{first.night[:10]}: new identity, earlier nights do not compare"
        yield NightMark(axis.shares[first.night] - axis.half, "", "break", text)
