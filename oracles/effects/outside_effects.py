"""Did a fault from outside have its consequence? For each kind a sign that its injector has no hand in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from history.events import OUT_OF_MEMORY, SERVER_SERVICE, ContainerAction
from history.records import FaultRecord
from oracles.effects.network_effects import NETWORK_CHECKS
from oracles.endings import is_refusal, wrong_requests
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.incarnations import ending, outages
from oracles.views.struck_requests import fault_window, given_up, names_of
from oracles.views.timeline import NS_PER_S, end_ns

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


SETTLE_NS = NS_PER_S // 2
"""What the server had done before still comes in for so long."""
SLOWER = 0.8
"""Tokens a second while the server is squeezed, as a share of those before: less than this."""
LEAST_NS = NS_PER_S
"""A rate is taken of no shorter time."""


def _slower(case: FiredFault) -> Doubt | None:
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


def _starved(case: FiredFault) -> Doubt | None:
    """The container's engine tells that the kernel ended something there for lack of memory, and a request
    failed of it."""
    for line in case.fired:
        if not _oom(case, line):
            return Doubt(
                "not-out-of-memory",
                "the engine of the container tells of no process that was ended for lack of memory",
            )
    return _engine_missed(case)


def _engine_missed(case: FiredFault) -> Doubt | None:
    """A request failed that was on its way when the engine was killed, or came soon afterwards."""
    for record in case.fired:
        outage = next((one for one in outages(case.history) if one.cause == record), None)
        failed = (one for one in case.history.requests if one.outcome == "error")
        if outage is None or not any(outage.covers(one.start_ns, end_ns(one)) for one in failed):
            return Doubt("no-request-failed", "no request failed of it")
    return None


def _unseen(case: FiredFault) -> Doubt | None:
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


def _refused(case: FiredFault) -> Doubt | None:
    """The server refused requests that cannot be served, by its own status."""
    for line in case.fired:
        if not any(is_refusal(each.status) for each in wrong_requests(line)):
            return Doubt("none-refused", f"the server refused none of the requests at arrival {line.n}")
    return None


def _left(case: FiredFault) -> Doubt | None:
    """Of each crowd's requests the server says of one at least that it gave it up."""
    left = given_up(case.history)
    records = {record.id: record for record in case.history.requests}
    for line in case.fired:
        crowd = [records[name] for name in names_of(line) if name in records]
        if not crowd:
            return Doubt("no-record", f"no client of arrival {line.n} has left a record")
        if all(record.outcome == "ok" for record in crowd):
            return Doubt("answered-before-leaving", "the server had answered them all before they left")
        if not any(record.id in left for record in crowd):
            return Doubt("not-given-up", "the server's journal tells of none of them that it gave them up")
    return None


OUTSIDE_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "pause": _stood_still,
    "kill": _ended,
    "stop": _ended,
    "engine_kill": _engine_missed,
    **NETWORK_CHECKS,
    "malformed_request": _refused,
    "oversized_request": _refused,
    "abort_storm": _left,
    "cpu_squeeze": _slower,
    "memory_squeeze": _starved,
    "prometheus_kill": _unseen,
}
