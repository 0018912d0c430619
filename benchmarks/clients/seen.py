"""What a client says of one request, whichever client it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """Times are the host's monotonic clock."""

    id: str
    """As the mock server logs it."""
    first_ns: float
    """When the first token came."""
    gaps_ms: tuple[float, ...] = ()
    """Between the events; empty where the client keeps only their mean."""
    mean_gap_ms: float | None = None
    """Where it keeps no more."""
