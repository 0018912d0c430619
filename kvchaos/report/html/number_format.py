"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Callable

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
    return f"{value:.3g} %"


def byte_size(value: float) -> str:
    """In powers of ten, so that ticks at round numbers read as such."""
    figures, prefix = _prefixed(value)
    return f"{figures} {prefix}B"


def byte_rate(value: float) -> str:
    return f"{byte_size(value)}/s"


def seconds(value: float) -> str:
    """Seconds to the millisecond."""
    return f"{value:.3f} s"
