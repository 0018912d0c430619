"""The bounds that a request must meet to count as goodput, and the share of requests that must meet them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from history.latency import e2el_ms, tpot_ms, ttft_ms
from history.records import RequestRecord


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on each request, ms, as history/latency.py defines them; None: no bound."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None
    share: float = 0.99
    """So many of all requests must be good, those that failed among them."""

    @property
    def bounds(self) -> list[tuple[str, float]]:
        """The bounds that are set, by the name of their metric."""
        named = (("TTFT", self.ttft_ms), ("TPOT", self.tpot_ms), ("E2EL", self.e2el_ms))
        return [(name, bound) for name, bound in named if bound is not None]

    def __str__(self) -> str:
        bounds = ", ".join(f"{name} at most {bound:g} ms" for name, bound in self.bounds)
        return f"{bounds} for {self.share:.4g} of the requests"

    def good(self, record: RequestRecord) -> bool:
        """Whether a request ended well and within all bounds."""
        if record.outcome != "ok":
            return False
        measured = (
            (ttft_ms(record), self.ttft_ms),
            (tpot_ms(record), self.tpot_ms),
            (e2el_ms(record), self.e2el_ms),
        )
        return all(bound is None or value is None or value <= bound for value, bound in measured)

    def count(self, records: Sequence[RequestRecord]) -> int:
        """How many are good."""
        return sum(map(self.good, records))
