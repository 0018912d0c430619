"""How fast a server must be in a phase, as a scenario says it. What is not given is told and not judged.

TTFT counts from when a request was due; ITL is the time between two events of a stream that carry tokens.
Only good answers count. A 99th percentile of fewer than 100 values is the largest.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from history.strict import Name, Strict

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PhaseBounds(Strict):
    """Bounds on one phase, and how it must compare with an earlier one of the same load."""

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
    """In a healed phase: at most so long from healing until requests are served again as in `like`."""

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
