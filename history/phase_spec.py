"""A phase of a scenario: what is sent, when, and how fast the server must answer.

Rates are arrivals a second; `loadtests.arrival_schedule` computes the times. A conversation arrives once; its
later turns follow the answers.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from history.strict_model import Name, Strict

Rate = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Spacing = Literal["even", "poisson"]
"""Whether the arrivals of a changing rate are evenly spaced or fall at random."""


class Closed(Strict):
    """The next request starts when one has ended: `concurrency` are always in flight."""

    kind: Literal["closed"] = "closed"


class Constant(Strict):
    """Requests due at equal intervals, at `rate` a second."""

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
    """Requests at a rate that changes linearly, then stays constant."""

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
    """Requests in bursts of `size`, repeatedly."""

    kind: Literal["bursts"]
    size: int = Field(ge=1, le=1_000_000)
    every_s: Seconds


class Recorded(Strict):
    """Requests at the times of a trace's entries; for workloads of kind trace."""

    kind: Literal["trace"]


Arrivals = Annotated[
    Closed | Constant | Poisson | Gamma | Ramp | Steps | Bursts | Recorded, Field(discriminator="kind")
]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PhaseBounds(Strict):
    """Bounds on one phase, and how it must compare with an earlier one of the same load.

    What is not given is reported and not judged. TTFT counts from when a request was due; ITL is the time
    between two events of a stream that carry tokens. Only good answers count. A 99th percentile of fewer than
    100 values is the largest.
    """

    ttft_median_ms: Positive | None = None
    """At most, as all that is not called otherwise."""
    ttft_p99_ms: Positive | None = None
    itl_p99_ms: Positive | None = None
    """There is no bound on the median: tokens that arrive together have an ITL of 0."""
    tokens_per_s: Positive | None = None
    """At least so many tokens of good answers a second, from the first start to the last end."""
    like: Name | None = None
    """An earlier phase of the same load, for the bounds below."""
    ttft_ratio: Positive | None = None
    """Median TTFT: at most so many times that of `like`."""
    tokens_ratio: Positive | None = None
    """Tokens a second: at least this share of those of `like`."""
    recover_s: Positive | None = None
    """Most seconds from healing until requests are as fast as in `like`; only with the role healed."""

    @model_validator(mode="after")
    def _says_something(self) -> PhaseBounds:
        # A stored plan names every field, also those that were not given.
        given = {name for name, value in self if name != "like" and value is not None}
        if not given:
            raise ValueError("give at least one bound")
        if self.like is None and given & {"ttft_ratio", "tokens_ratio", "recover_s"}:
            raise ValueError("ttft_ratio, tokens_ratio and recover_s need like")
        if self.like is not None and not given & {"ttft_ratio", "tokens_ratio", "recover_s"}:
            raise ValueError("like goes with ttft_ratio, tokens_ratio or recover_s")
        return self


Role = Literal["golden", "load", "chaos", "healed"]


class PhaseSpec(Strict):
    """One stretch of load. It ends on a count of requests, never on a clock."""

    name: Name
    role: Role
    """golden: answers others are compared with; load: no fault; chaos: faults armed; healed: faults gone."""
    workload: Name
    requests: int = Field(gt=0, le=1_000_000)
    concurrency: int = Field(gt=0, le=10_000)
    """The most in flight at once."""
    arrivals: Arrivals = Closed()
    """When requests are due. One that finds `concurrency` in flight waits, and its record says so."""
    first: int = Field(default=0, ge=0)
    """Index of the first request taken from the workload's endless list."""
