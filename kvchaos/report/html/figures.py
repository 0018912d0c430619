"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Callable

Format = Callable[[float], str]
LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
NOTHING = "-"


def number(value: float) -> str:
    """Three figures, large ones with their prefix: 0.25, 17, 52.7k."""
    for size, prefix in LARGE:
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


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
    for size, unit in BYTES:
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


def byte_rate(value: float) -> str:
    return f"{byte_size(value)}/s"


def seconds(value: float) -> str:
    """Seconds to the millisecond."""
    return f"{value:.3f} s"
