"""Did a fault of a container, or of Prometheus, have its consequence?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from history.events import OUT_OF_MEMORY, SERVER_SERVICE, ContainerAction
from history.records import FaultRecord
from oracles.views.fault_windows import fault_window
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.incarnations import outages
from oracles.views.timeline import NS_PER_S, end_ns

SETTLE_NS = NS_PER_S // 2
"""What the server had done before still comes in for so long."""
SLOWER = 0.8
"""Tokens a second while the server is squeezed, as a share of those before: less than this."""
LEAST_NS = NS_PER_S
"""A rate is taken of no shorter time."""


def slower(case: FiredFault) -> Doubt | None:
    """Tokens came more slowly than before in the same phase."""
    times_ns = sorted(case.tokens_ns())
    for line in case.fired:
        during = fault_window(case.history, line)
        before_ns = [t_ns for t_ns in times_ns if t_ns < during.begin_ns]
        if during.end_ns is None:
            return Doubt("strike-unseen", f"nobody saw the end of the strike at arrival {line.n}")
        begin_ns = during.begin_ns + SETTLE_NS
        if not before_ns or during.begin_ns - before_ns[0] < LEAST_NS or during.end_ns - begin_ns < LEAST_NS:
            return Doubt("too-little-time", "there was too little time to tell how fast tokens came")
        usual = _rate(before_ns, before_ns[0], during.begin_ns)
        squeezed = _rate(times_ns, begin_ns, during.end_ns)
        if squeezed > SLOWER * usual:
            return Doubt(
                "not-slower",
                f"{squeezed:.0f} tokens a second came meanwhile, {usual:.0f} before",
                {"meanwhile": squeezed, "before": usual},
            )
    return None


def starved(case: FiredFault) -> Doubt | None:
    """The container's engine tells that the kernel ended something there for lack of memory, and a request
    failed of it."""
    for line in case.fired:
        if not _oom(case, line):
            return Doubt(
                "not-out-of-memory",
                "the engine of the container tells of no process that was ended for lack of memory",
            )
    return engine_missed(case)


def engine_missed(case: FiredFault) -> Doubt | None:
    """A request failed that was on its way when the engine was killed, or came soon afterwards."""
    for record in case.fired:
        outage = next((one for one in outages(case.history) if one.cause == record), None)
        failed = (one for one in case.history.requests if one.outcome == "error")
        if outage is None or not any(outage.covers(one.start_ns, end_ns(one)) for one in failed):
            return Doubt("no-request-failed", "no request failed of it")
    return None


def unseen(case: FiredFault) -> Doubt | None:
    """Prometheus has no scrape of that time, but some of before and after; and the suite has one."""
    scraped_ns = case.history.prometheus.times_ns
    for line in case.fired:
        during = fault_window(case.history, line)
        if during.end_ns is None:
            return Doubt("strike-unseen", f"nobody saw the end of the strike at arrival {line.n}")
        if not case.history.metrics.answered_within(during.begin_ns, during.end_ns):
            return Doubt("suite-saw-nothing", "the suite saw nothing meanwhile either")
        if any(during.begin_ns < t_ns < during.end_ns for t_ns in scraped_ns):
            return Doubt("prometheus-saw", "Prometheus saw the server meanwhile")
        if not any(t_ns < during.begin_ns for t_ns in scraped_ns) or not any(
            t_ns > during.end_ns for t_ns in scraped_ns
        ):
            return Doubt("not-seen-around", "Prometheus did not see the server both before and after it")
    return None


def _oom(case: FiredFault, line: FaultRecord) -> bool:
    outage = next((one for one in outages(case.history) if one.cause == line), None)
    if outage is None:
        return False
    return any(
        event.data.service == SERVER_SERVICE
        and event.data.action == OUT_OF_MEMORY
        and outage.covers(event.data.at_ns, event.data.at_ns)
        for event in case.history.events_of(ContainerAction)
    )


def _rate(times_ns: Sequence[int], begin_ns: int, end_ns: int) -> float:
    """Of those within, a second."""
    within = sum(begin_ns <= t_ns <= end_ns for t_ns in times_ns)
    return within * NS_PER_S / (end_ns - begin_ns)


CONTAINER_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "cpu_squeeze": slower,
    "memory_squeeze": starved,
    "prometheus_kill": unseen,
}
