"""Latency over time: minimum, median and maximum of each time bucket."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from history.latency import gaps, percentile, ttft_ms
from history.records import RequestRecord
from kvchaos.report.html.axis import Scale, TimeAxis, milliseconds
from kvchaos.report.html.chart import NO_DATA, Chart, ChartLine, ChartMarker, y_ticks

NS_PER_US = 1_000
US_PER_MS = 1e3
BUCKETS = 240
MAX_EMPTY_BUCKETS = 12
"""So many buckets without a value break the line through the medians."""
TimedLatency = tuple[int, float]
"""(wall clock ns, ms)."""


@dataclass(frozen=True, slots=True)
class LatencyRange:
    """The latencies of one time bucket, ms."""

    at_ns: int
    low: float
    middle: float
    high: float
    count: int


def ttft(records: Iterable[RequestRecord]) -> list[TimedLatency]:
    """TTFT, at the moment when the first token came."""
    return [
        (record.start_ns + record.first_us * NS_PER_US, time)
        for record in records
        if record.first_us is not None and (time := ttft_ms(record)) is not None
    ]


def max_itl(records: Sequence[RequestRecord]) -> list[TimedLatency]:
    """The longest gap between two events with tokens of each request, at its end."""
    return list(_max_gaps(records))


def _max_gaps(records: Sequence[RequestRecord]) -> Iterator[TimedLatency]:
    for block in gaps(records):
        longest, until = block.longest()
        for record, gap, end_us in zip(block.records, longest.tolist(), until.tolist(), strict=True):
            yield record.start_ns + end_us * NS_PER_US, gap / US_PER_MS


def ranges(measured: Iterable[TimedLatency], axis: TimeAxis) -> list[LatencyRange]:
    """At most BUCKETS of them, in order of time."""
    width = max((axis.end_ns - axis.start_ns) / BUCKETS, 1.0)
    buckets: dict[int, list[float]] = defaultdict(list)
    for t_ns, value in measured:
        buckets[int((t_ns - axis.start_ns) / width)].append(value)
    found: list[LatencyRange] = []
    for bucket in sorted(buckets):
        values = sorted(buckets[bucket])
        middle = percentile(values, 50)
        if middle is not None:
            at_ns = axis.start_ns + int((bucket + 0.5) * width)
            found.append(LatencyRange(at_ns, values[0], middle, values[-1], len(values)))
    return found


def latency_chart(
    key: str,
    title: str,
    note: str,
    measured: Iterable[TimedLatency],
    failed: Iterable[ChartMarker],
    axis: TimeAxis,
) -> Chart:
    """Bars from least to greatest and a line through the middles, on a logarithmic scale."""
    found = ranges(measured, axis)
    scale = Scale.log(value for one in found for value in (one.low, one.high))
    lows, highs = [one.low for one in found], [one.high for one in found]
    value_range = f"{milliseconds(min(lows))} to {milliseconds(max(highs))}" if found else NO_DATA
    return Chart(
        key=key,
        title=title,
        note=note,
        x_ticks=axis.ticks(),
        y_ticks=y_ticks(scale, milliseconds) if found else [],
        lines=[
            ChartLine("median", 1, _middles(found, axis, scale), _medians(found), _readings(found, axis)),
            ChartLine("least to greatest", 2, _bars(found, axis, scale), value_range, []),
        ],
        markers=list(failed),
        symbol="✗",
    )


def _middles(found: list[LatencyRange], axis: TimeAxis, scale: Scale) -> str:
    """Broken where nothing was measured for longer."""
    longest = (axis.end_ns - axis.start_ns) * MAX_EMPTY_BUCKETS / BUCKETS
    parts: list[str] = []
    before_ns: int | None = None
    for one in found:
        goes_on = before_ns is not None and one.at_ns - before_ns <= longest
        parts.append(f"{'L' if goes_on else 'M'}{axis.x(one.at_ns)} {scale.height(one.middle):.4g}")
        before_ns = one.at_ns
    return "".join(parts)


def _bars(found: list[LatencyRange], axis: TimeAxis, scale: Scale) -> str:
    """A bar of one value still has a height, so that it is visible."""
    bars: list[str] = []
    for one in found:
        top, bottom = scale.height(one.high), scale.height(one.low)
        bars.append(f"M{axis.x(one.at_ns)} {top - 0.8:.4g}V{bottom + 0.8:.4g}")
    return "".join(bars)


def _medians(found: list[LatencyRange]) -> str:
    if not found:
        return NO_DATA
    middles = [one.middle for one in found]
    return f"{milliseconds(min(middles))} to {milliseconds(max(middles))}"


def _readings(found: list[LatencyRange], axis: TimeAxis) -> list[tuple[float, str | None]]:
    return [
        (
            round(axis.seconds(one.at_ns), 3),
            f"{milliseconds(one.middle)} ({milliseconds(one.low)} to {milliseconds(one.high)}, {one.count})",
        )
        for one in found
    ]
