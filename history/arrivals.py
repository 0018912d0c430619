"""When the requests of a phase are sent, by its scenario. `loadtests.arrival_schedule` computes the times.

Rates are arrivals a second. A conversation arrives once; its later turns follow the answers.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from history.strict import Strict

Rate = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Spacing = Literal["even", "poisson"]
"""Whether the arrivals of a changing rate are evenly spaced or fall at random."""


class Closed(Strict):
    """The next request starts when one has ended: `concurrency` are always in flight."""

    kind: Literal["closed"] = "closed"


class Constant(Strict):
    kind: Literal["constant"]
    rate: Rate


class Poisson(Strict):
    """Independent arrivals."""

    kind: Literal["poisson"]
    rate: Rate


class Gamma(Strict):
    """Gaps of a gamma distribution. Their coefficient of variation is 1 / sqrt(burstiness)."""

    kind: Literal["gamma"]
    rate: Rate
    burstiness: float = Field(gt=0, le=1000, allow_inf_nan=False)
    """Shape of the distribution: 1 is Poisson, less is burstier, more is steadier."""


class Ramp(Strict):
    """From one rate to another in a straight line, then on at the second."""

    kind: Literal["ramp"]
    from_rate: float = Field(ge=0, le=1_000_000, allow_inf_nan=False)
    to_rate: Rate
    over_s: Seconds
    spacing: Spacing = "even"


class Steps(Strict):
    """One rate after the other, each for so long; the last goes on."""

    kind: Literal["steps"]
    rates: tuple[Rate, ...] = Field(min_length=1)
    each_s: Seconds
    spacing: Spacing = "even"


class Bursts(Strict):
    """So many at the same moment, again and again."""

    kind: Literal["bursts"]
    size: int = Field(ge=1, le=1_000_000)
    every_s: Seconds


class Recorded(Strict):
    """When the entries of a trace came; for workloads of kind trace."""

    kind: Literal["trace"]


Arrivals = Annotated[
    Closed | Constant | Poisson | Gamma | Ramp | Steps | Bursts | Recorded, Field(discriminator="kind")
]
