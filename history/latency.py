"""What of a request's times is called its TTFT, for all that tell of it."""

from __future__ import annotations

from history.records import RequestRecord

NS_PER_MS = 1e6
US_PER_MS = 1e3


def ttft_ms(record: RequestRecord) -> float | None:
    """From when it was due to its first token; None without one."""
    if record.first_us is None:
        return None
    return (record.start_ns - record.intended_ns) / NS_PER_MS + record.first_us / US_PER_MS
