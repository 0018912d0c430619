"""How lengths are spread between two bounds."""

from __future__ import annotations

import math
from typing import Literal

from loadtests.workloads.workload import Draw

Lengths = Literal["uniform", "lognormal"]

BOUND_SIGMAS = 2.0
"""The bounds of a lognormal length lie so many standard deviations from its middle; beyond is cut to them."""


def length(draw: Draw, shape: Lengths, least: int | None, most: int, *label: str | int) -> int:
    """Tokens between the bounds, both possible; without a least, always the most."""
    lowest = most if least is None else least
    if shape == "uniform" or lowest == most:
        return draw.integer(lowest, most, *label)
    low, high = math.log(lowest), math.log(most)
    value = draw.random(label).lognormvariate((low + high) / 2, (high - low) / 2 / BOUND_SIGMAS)
    return min(max(round(value), lowest), most)
