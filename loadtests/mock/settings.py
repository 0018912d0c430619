"""When the mock server sends, and which answers end badly; strict, as read from JSON."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Literal

import msgspec

Ms = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]
Above = Annotated[float, msgspec.Meta(gt=0, le=3_600_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

End = Literal[
    "whole",
    "pause",  # nothing for `pause_ms` in the middle, then the rest, whole
    "http_error",  # status 500 in place of an answer
    "error_event",  # an error object in a stream with status 200
    "cut",  # the connection is closed in mid-stream
    "truncated",  # the stream ends tidily, without finish reason and usage
    "hang",  # nothing more, and the connection stays open
]
COMPLETE: tuple[End, ...] = ("whole", "pause")
"""Ends at which the client has got all that it asked for."""


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """A distribution of times, ms."""


class Fixed(Times, frozen=True, kw_only=True, tag="fixed"):
    ms: Ms

    def at(self, share: float) -> float:
        return self.ms


class Uniform(Times, frozen=True, kw_only=True, tag="uniform"):
    low_ms: Ms
    high_ms: Ms

    def __post_init__(self) -> None:
        if self.high_ms < self.low_ms:
            raise ValueError("high_ms is below low_ms")

    def at(self, share: float) -> float:
        return self.low_ms + share * (self.high_ms - self.low_ms)


class Exponential(Times, frozen=True, kw_only=True, tag="exponential"):
    mean_ms: Ms

    def at(self, share: float) -> float:
        return -self.mean_ms * math.log1p(-share)


class Lognormal(Times, frozen=True, kw_only=True, tag="lognormal"):
    median_ms: Ms
    sigma: Annotated[float, msgspec.Meta(ge=0, le=5)]

    def at(self, share: float) -> float:
        return self.median_ms * math.exp(self.sigma * NormalDist().inv_cdf(share)) if share else 0.0


Distribution = Fixed | Uniform | Exponential | Lognormal
"""`at` gives the time below which this share of all lies; the share is in [0, 1)."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is drawn comes from the seed and the id of the request, so order and load change nothing."""

    seed: int = 0
    model: str = "mock"
    """The name it tells when asked for its models; any name is answered."""
    ttft: Distribution = Fixed(ms=20.0)
    """From the arrival of a request to its first token."""
    itl: Distribution = Fixed(ms=10.0)
    """From one event to the next."""
    tokens_per_event: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    ends: dict[End, Share] = {}
    """Shares of requests that end so; the rest is whole."""
    pause_ms: Above = 1000.0

    def __post_init__(self) -> None:
        if sum(self.ends.values()) > 1 + 1e-9:
            raise ValueError("the shares in ends add up to more than 1")
