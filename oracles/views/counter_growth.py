"""How much counters grew in phases, from the scrapes at their bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from history.reader import History, PhaseWindow


class CounterGrowth(Protocol):
    """How much a counter counted in some stretch of a run; None when it is absent."""

    def __call__(self, metric: str, **labels: str) -> float | None:
        """The increase of the counter with these labels."""


def growth_in_phases(
    history: History, windows: Iterable[PhaseWindow], metric: str, **labels: str
) -> float | None:
    """Growth of a counter over some phases; None if it is not known for any of them."""
    grown = [
        growth
        for window in windows
        if window.first_scrape is not None and window.last_scrape is not None
        for growth in [history.metrics.increase(window.first_scrape, window.last_scrape, metric, **labels)]
        if growth is not None
    ]
    return sum(grown) if grown else None


def loaded_bytes(count: CounterGrowth) -> float | None:
    """Bytes loaded from the offload tier, under the name that the release has for them."""
    flat = count("vllm:kv_offload_load_bytes_total")
    if flat is not None:
        return flat
    return count("vllm:kv_offload_total_bytes_total", transfer_type="CPU_to_GPU")


def load_seconds(count: CounterGrowth) -> float | None:
    """Time of the copies from the offload tier, seconds, under the name that the release has for it."""
    flat = count("vllm:kv_offload_load_time_total")
    if flat is not None:
        return flat
    return count("vllm:kv_offload_total_time_total", transfer_type="CPU_to_GPU")
