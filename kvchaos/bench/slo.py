"""What a request must hold to be a good one, and how many must."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from history.latency import ttft_ms
from history.records import RequestRecord

NS_PER_MS = 1e6
US_PER_MS = 1e3


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on each request, ms, all counted from when it was due; a bound of None is not asked for."""

    ttft_ms: float | None = None
    itl_ms: float | None = None
    """Mean time between the tokens of one answer."""
    total_ms: float | None = None
    share: float = 0.99
    """So many of all requests must be good, those that failed among them."""

    @property
    def bounds(self) -> list[tuple[str, float]]:
        """Those that are asked for, by the name people know them by."""
        named = (("TTFT", self.ttft_ms), ("ITL", self.itl_ms), ("total", self.total_ms))
        return [(name, bound) for name, bound in named if bound is not None]

    def __str__(self) -> str:
        told = ", ".join(f"{name} at most {bound:g} ms" for name, bound in self.bounds)
        return f"{told} for {self.share:.4g} of the requests"

    def good(self, record: RequestRecord) -> bool:
        """Whether a request ended well and within all bounds."""
        if record.outcome != "ok":
            return False
        measured = (
            (ttft_ms(record), self.ttft_ms),
            (mean_itl_ms(record), self.itl_ms),
            (total_ms(record), self.total_ms),
        )
        return all(bound is None or value is None or value <= bound for value, bound in measured)

    def count(self, records: Sequence[RequestRecord]) -> int:
        """How many are good."""
        return sum(map(self.good, records))


def total_ms(record: RequestRecord) -> float:
    """From when it was due to its end."""
    return (record.start_ns - record.intended_ns) / NS_PER_MS + record.end_us / US_PER_MS


def mean_itl_ms(record: RequestRecord) -> float | None:
    """Between tokens after the first event; None where no token came after it, or several answers mix."""
    later = sum(record.chunk_tokens[1:])
    if not later or record.choices > 1:
        return None
    return (record.chunk_us[-1] - record.chunk_us[0]) / later / US_PER_MS
