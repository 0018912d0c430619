"""What a server uses and how fast it answers at the end of a run, for slopes over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from history.latency import itl_us, ttft_ms
from history.reader import History
from history.records import RequestRecord
from kvchaos.stability.campaign_records import ServerUsage

NS_PER_S = 1_000_000_000
US_PER_MS = 1000.0
CONFORMING = frozenset({"golden", "load"})
"""Roles of phases whose latencies are compared: no fault delays them."""


def server_usage(history: History) -> ServerUsage | None:
    """The last sample of the server's resources, and the latencies of the run; None without a sample."""
    if not history.resources:
        return None
    last = history.resources[-1]
    roles = {phase.name: phase.role for phase in history.plan.scenario.phases}
    good = [each for each in history.requests if each.outcome == "ok" and roles.get(each.phase) in CONFORMING]
    return ServerUsage(
        life=f"{last.leader}-{last.started}",
        t_s=last.t_ns // NS_PER_S,
        memory_bytes=last.anonymous_bytes,
        files=last.files,
        sockets=last.sockets,
        threads=last.threads,
        ttft_ms=_ttft(good),
        itl_ms=_itl(good),
    )


def _ttft(requests: Sequence[RequestRecord]) -> float | None:
    found = [each for request in requests if (each := ttft_ms(request)) is not None]
    return round(median(found), 3) if found else None


def _itl(requests: Sequence[RequestRecord]) -> float | None:
    found = [each for request in requests for each in itl_us(request)]
    return round(median(found) / US_PER_MS, 3) if found else None
