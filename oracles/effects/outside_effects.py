"""Did a fault from outside have its consequence? For each kind a sign that its injector has no hand in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from oracles.effects.client_effects import CLIENT_CHECKS
from oracles.effects.container_effects import CONTAINER_CHECKS, engine_missed
from oracles.effects.network_effects import NETWORK_CHECKS
from oracles.views.fault_windows import fault_window
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.incarnations import ending
from oracles.views.timeline import NS_PER_S

IN_PIPES_NS = NS_PER_S // 4
"""What the server had sent before still comes in for so long."""


def _stood_still(case: FiredFault) -> Doubt | None:
    """While the server stood still no scrape was answered and no token came, though both were waited for."""
    for record in case.fired:
        during = fault_window(case.history, record)
        struck_ns, until_ns = during.begin_ns, during.end_ns
        if until_ns is None:
            return Doubt("strike-unseen", f"nobody saw begin and end of the strike at arrival {record.n}")
        since_ns = struck_ns + IN_PIPES_NS
        log = case.history.metrics
        if not log.tried_within(since_ns, until_ns):
            return Doubt("not-scraped", "nobody scraped the server meanwhile")
        if answered := log.answered_within(since_ns, until_ns):
            return Doubt(
                "scrape-answered", f"{answered} scrapes were answered meanwhile", {"scrapes": answered}
            )
        if not case.in_flight.at(struck_ns):
            return Doubt("no-request", "no request was on its way")
        if any(since_ns < t_ns < until_ns for t_ns in case.tokens_ns()):
            return Doubt("token-meanwhile", "tokens came meanwhile")
    return None


def _ended(case: FiredFault) -> Doubt | None:
    """Scrapes and clients tell that this life of the server ended: the next answer to a scrape is another
    process's, and no request that was on its way was answered by it."""
    log = case.history.metrics
    for record in case.fired:
        ended = ending(record)
        struck_ns = None if ended is None else ended.struck_ns
        if struck_ns is None:
            return Doubt("strike-unseen", f"nobody saw when the strike at arrival {record.n} came")
        after = bisect_left(log.times_ns, record.t_ns)
        if after == 0 or after == len(log):
            return Doubt("not-scraped-around", "no scrape was answered before and after it")
        if log.incarnations[after - 1] == log.incarnations[after]:
            return Doubt("same-process", "scrapes are answered by the same process as before")
        if record.kind == "kill":
            in_flight = case.in_flight.at(struck_ns + IN_PIPES_NS)
            served = [one for one in in_flight if one.start_ns < struck_ns and one.outcome == "ok"]
            if served:
                return Doubt("answered-all-the-same", f"request {served[0].id} was answered all the same")
    return None


OUTSIDE_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "pause": _stood_still,
    "kill": _ended,
    "stop": _ended,
    "engine_kill": engine_missed,
    **NETWORK_CHECKS,
    **CLIENT_CHECKS,
    **CONTAINER_CHECKS,
}
