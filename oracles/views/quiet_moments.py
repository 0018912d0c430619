"""The moments without a request in flight: resources are compared between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from history.events import Drained, EventData, PhaseEnd, Timed
from history.reader import History
from history.records import ResourceRecord
from oracles.views.incarnations import incarnations
from oracles.views.timeline import NS_PER_S

IDLE = ("vllm:num_requests_running", "vllm:num_requests_waiting")
END = "the end"
FRESH_NS = 10 * NS_PER_S
"""How old a sample may be that stands for a quiet moment. One is taken right before it."""


@dataclass(frozen=True, slots=True)
class QuietMoment:
    """Resources of the server when it was quiet."""

    name: str
    usage: ResourceRecord


def quiet_moments(history: History) -> Iterator[QuietMoment]:
    """The quiet moments in order of time."""
    times = [record.t_ns for record in history.resources]
    for event in history.timed:
        name = _name(history, event)
        index = bisect_right(times, event.t_ns) - 1
        if name is not None and index >= 0 and event.t_ns - times[index] <= FRESH_NS:
            yield QuietMoment(name, history.resources[index])


def _name(history: History, event: Timed[EventData]) -> str | None:
    """Name of the quiet moment that an event marks; None when it marks none."""
    match event.data:
        case Drained():
            # Whether it really drained is for another oracle to say: what is in use now is in use too long.
            return END
        case PhaseEnd(phase=phase, reason="done") if _is_idle(history, event.t_ns):
            return None if phase in _phases_of_two_incarnations(history) else f"phase {phase}"
        case _:
            return None


def _phases_of_two_incarnations(history: History) -> set[str]:
    """Phases with a restart: at their end a server has not allocated yet what its first load needs."""
    begun_ns = [life.start_ns for life in incarnations(history)]
    return {
        phase.spec.name
        for phase in history.phases()
        if any(phase.start_ns < t_ns < phase.end_ns for t_ns in begun_ns)
    }


def _is_idle(history: History, t_ns: int) -> bool:
    log = history.metrics
    scrape = log.scrape_at(t_ns)
    return scrape is not None and all(log.total(scrape, gauge) == 0 for gauge in IDLE)
