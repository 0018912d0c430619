"""Axes of a drawing: positions of times and values, ticks, and figures as people read them.

A drawing is WIDTH by HEIGHT units; the page scales it to any size, except the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oracles.views.timeline import NS_PER_S

WIDTH = 1000.0
HEIGHT = 100.0
MIN_SPAN = 1e-9
"""Spans below this are none."""
NICE_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Tick:
    """A position along an axis, per cent of its length, and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """An interval of wall clock time. Its zero may lie before its start."""

    start_ns: int
    end_ns: int
    zero_ns: int

    def share(self, t_ns: int) -> float:
        """Position between start and end, in per cent, clamped to 0 to 100."""
        span = max(self.end_ns - self.start_ns, 1)
        return min(max((t_ns - self.start_ns) / span, 0.0), 1.0) * 100

    def x(self, t_ns: int) -> str:
        """The x coordinate of a time in a path, in units of a drawing's width."""
        return f"{self.share(t_ns) * WIDTH / 100:.5g}"

    def covers(self, t_ns: int) -> bool:
        """Whether a time is within the interval."""
        return self.start_ns <= t_ns <= self.end_ns

    def seconds(self, t_ns: int) -> float:
        """Seconds since the zero."""
        return (t_ns - self.zero_ns) / NS_PER_S

    def ticks(self, most: int = 6) -> list[Tick]:
        """Ticks at round numbers of seconds, about `most` of them."""
        low, high = self.seconds(self.start_ns), self.seconds(self.end_ns)
        step = nice_step(high - low, most)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        return [
            Tick(self.share(self.zero_ns + round(n * step * NS_PER_S)), f"{n * step:.6g} s")
            for n in range(first, last + 1)
        ]


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of values, linear from zero, or logarithmic where they differ by orders of magnitude."""

    low: float
    high: float
    step: float
    """Between two ticks; where logarithmic the factor between them."""
    logarithmic: bool = False

    @classmethod
    def linear(cls, values: Iterable[float]) -> Scale:
        """A linear scale with round bounds that covers all finite values, and zero."""
        finite = [value for value in values if math.isfinite(value)]
        high, low = max([*finite, 0.0]), min([*finite, 0.0])
        if high - low < MIN_SPAN:
            high = low + 1.0
        step = nice_step(high - low, 4)
        return cls(math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, step)

    @classmethod
    def log(cls, values: Iterable[float]) -> Scale:
        """Whole decades around the values above zero."""
        above = [value for value in values if math.isfinite(value) and value > 0]
        if not above:
            return cls(1.0, 10.0, 10.0, logarithmic=True)
        low, high = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
        return cls(10.0**low, 10.0 ** max(high, low + 1), 10.0, logarithmic=True)

    def height(self, value: float) -> float:
        """Position of a value from the top of a drawing, clamped to it."""
        return (1.0 - min(max(self._share(value), 0.0), 1.0)) * HEIGHT

    def ticks(self) -> list[tuple[float, float]]:
        """(per cent from the top, value), from below."""
        if self.logarithmic:
            decades = round(math.log10(self.high / self.low))
            values = [self.low * self.step**decade for decade in range(decades + 1)]
        else:
            steps = round((self.high - self.low) / self.step)
            values = [self.low + n * self.step for n in range(steps + 1)]
        return [(self.height(value), value) for value in values]

    def _share(self, value: float) -> float:
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            return 0.0
        return math.log10(value / self.low) / math.log10(self.high / self.low)


def nice_step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, so that at most so many steps make up a span above zero."""
    raw = max(span, MIN_SPAN) / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in NICE_STEPS if step * power >= raw * (1 - 1e-9))


Format = Callable[[float], str]
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
NO_VALUE = "-"


def number(value: float) -> str:
    """Three figures, large ones with their prefix: 0.25, 17, 52.7k."""
    return "".join(_prefixed(value))


def _prefixed(value: float) -> tuple[str, str]:
    """Three figures of a value, and the prefix that stands for the rest."""
    for size, prefix in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}", prefix
    return f"{value:.3g}", ""


def exact(value: float) -> str:
    """All figures: a count must not be rounded."""
    return f"{value:.12g}"


def milliseconds(value: float) -> str:
    """A time in ms with the unit that fits."""
    return f"{value / 1000:.3g} s" if abs(value) >= 1000 else f"{value:.3g} ms"


def percent(value: float) -> str:
    """A percentage as text."""
    return f"{value:.3g} %"


def byte_size(value: float) -> str:
    """Bytes as text with a unit, in powers of ten, so that round ticks look round."""
    figures, prefix = _prefixed(value)
    return f"{figures} {prefix}B"


def byte_rate(value: float) -> str:
    """Bytes a second as text, with a unit."""
    return f"{byte_size(value)}/s"


def seconds(value: float) -> str:
    """Seconds to the millisecond."""
    return f"{value:.3f} s"
