"""What any client reports of one request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientObservation:
    """Times are the host's monotonic clock."""

    id: str
    """The id of the request in the log of the mock server."""
    first_ns: float
    """When the client received the first token."""
    gaps_ms: tuple[float, ...] = ()
    """Between the events; empty where the client keeps only their mean."""
    mean_gap_ms: float | None = None
    """Set where the client keeps no more than the mean."""
