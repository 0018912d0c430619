"""Did faults of copies and their completions have their effect: delays, failures, lost and reordered ends?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator

from history.events import Drained, LeakProbe, ServerStalled
from history.protocol.audit_records import STORES
from history.protocol.evidence import CompletionsReordered, CopyDelayed, LoadRetried
from history.reader import History, per_history
from history.records import DEADLINE_EXCEEDED, FaultRecord, RequestRecord
from oracles.views.fired_fault import Doubt, FiredFault, log_lines, server_died, token_after
from oracles.views.timeline import NS_PER_US, end_ns

RECOVERED = re.compile(r"Recovered from KV load failure")
FAILED_BY_POLICY = re.compile(r"Failing \d+ request\(s\) due to KV load failure")
COPY_TIME_SHARE = 0.9
"""Share of the injected delay that the server's own clocks must show."""


def _copy_delay(case: FiredFault) -> Doubt | None:
    """The server's own clocks for transfers show the delay, in each direction that was struck."""
    for direction in ("load", "store"):
        delays = [delay.ms for _, delay in _delayed(case) if delay.direction == direction]
        if not delays:
            continue
        injected_s = sum(delays) / 1000
        grown_s = _copy_seconds(case, direction)
        if grown_s is None:
            return Doubt("no-copy-time", f"the server reports no {direction} time")
        if grown_s < COPY_TIME_SHARE * injected_s:
            return Doubt(
                "copy-time-too-short",
                f"the server's {direction} time grew by {grown_s:.3f} s for {injected_s:.3f} s injected",
                {"grown_s": grown_s, "injected_s": injected_s},
            )
    return None


def _delayed(case: FiredFault) -> Iterator[tuple[FaultRecord, CopyDelayed]]:
    """The firings that delay a copy or its end, each with its evidence."""
    for record in case.fired:
        firing = record.firing
        if isinstance(firing, CopyDelayed):
            yield record, firing


def _copy_seconds(case: FiredFault, direction: str) -> float | None:
    """Seconds of transfers by the name of the release: a counter each from 0.24, one with labels before."""
    flat = case.growth_to_the_end(f"vllm:kv_offload_{direction}_time_total")
    if flat is not None:
        return flat
    transfer_type = {"load": "CPU_to_GPU", "store": "GPU_to_CPU"}[direction]
    return case.growth_to_the_end("vllm:kv_offload_total_time_total", transfer_type=transfer_type)


def _load_failure(case: FiredFault) -> Doubt | None:
    """The server said that it recovered, or failed a request, as its policy has it."""
    if case.history.plan.scenario.server.load_failure_policy == "recompute":
        recovered = log_lines(case, RECOVERED)
        return None if recovered else Doubt("no-recovery", "the log tells of no recovery from a load failure")
    names = {phase.spec.name for phase in case.phases}
    errors = any(
        record.phase in names and record.outcome == "error" and record.status is not None
        for record in case.history.requests
    )
    if errors or log_lines(case, FAILED_BY_POLICY):
        return None
    return Doubt("no-request-failed-by-policy", "no request failed by policy")


def _load_failed(case: FiredFault) -> Doubt | None:
    """The server looked up the blocks of each such request again, or failed it, by its policy."""
    last_retry_ns: dict[str | None, int] = defaultdict(int)
    for line in case.history.faults:
        if isinstance(line.note, LoadRetried):
            last_retry_ns[line.request] = max(line.t_ns, last_retry_ns[line.request])
    for record in case.fired:
        if case.history.plan.scenario.server.load_failure_policy == "recompute":
            if last_retry_ns[record.request] <= record.t_ns:
                return Doubt(
                    "not-asked-again", f"the server did not ask again for the request of arrival {record.n}"
                )
        elif not any(request.outcome == "error" for request in case.requests_of(record)):
            return Doubt(
                "no-request-failed-by-policy", f"the request of arrival {record.n} did not fail by policy"
            )
    return None


def _waited(case: FiredFault) -> Doubt | None:
    """For each load whose end was reported late, its request got no token meanwhile. Of stores, by the books
    of the scheduler, one was open when it was struck, and for as long as its end was kept back."""
    stores: list[tuple[FaultRecord, float]] = []
    for record, delay in _delayed(case):
        if delay.direction == "store":
            stores.append((record, delay.ms))
        elif not _waits(case, record, delay.ms):
            text = f"no request waited the {delay.ms:g} ms of arrival {record.n}"
            return Doubt("no-wait", text, {"ms": delay.ms})
    if stores and not any(_kept_open(case, record, ms) for record, ms in stores):
        return Doubt(
            "no-store-kept-open", "by the ledger no store was open for as long as its end was kept back"
        )
    return None


def _kept_open(case: FiredFault, struck: FaultRecord, ms: float) -> bool:
    """Whether the store that took longest was open at the strike, and as long as its delay."""
    return any(
        since_ns <= struck.t_ns <= since_ns + lasted_ns and lasted_ns >= ms * 1e6
        for since_ns, lasted_ns in _longest_stores(case.history)
    )


@per_history
def _longest_stores(history: History) -> list[tuple[int, int]]:
    """Begin and time, ns, of the longest store of each balance."""
    balances = (line.balance for line in history.ledger)
    accounts = (balance.accounts.get(STORES) for balance in balances if balance is not None)
    return [
        (stores.longest_since_ns, stores.longest_ns)
        for stores in accounts
        if stores is not None and stores.longest_since_ns is not None and stores.longest_ns is not None
    ]


def _waits(case: FiredFault, struck: FaultRecord, ms: float) -> bool:
    """Whether the request that was struck, or any where it is not named, was silent for so long."""
    since_ns, until_ns = struck.t_ns, struck.t_ns + int(COPY_TIME_SHARE * ms * 1e6)
    return any(
        record.start_ns <= since_ns and end_ns(record) >= until_ns and _silent(record, since_ns, until_ns)
        for record in (
            case.requests_of(struck) if struck.request is not None else case.in_flight.at(since_ns)
        )
    )


def _silent(record: RequestRecord, since_ns: int, until_ns: int) -> bool:
    """Whether no token came in this time. One that was preempted has had some before it."""
    return not any(since_ns < record.start_ns + us * NS_PER_US < until_ns for us in record.chunk_us)


def _stuck(case: FiredFault) -> Doubt | None:
    """A request whose completion is lost waits for ever: a stall, a missed deadline, or leaked blocks."""
    missed = any(
        record.error is not None and record.error.kind == DEADLINE_EXCEEDED
        for record in case.history.requests
    )
    leaked = any(event.data.ok is False for event in case.history.events_of(LeakProbe))
    undrained = any(not event.data.ok for event in case.history.events_of(Drained))
    if missed or leaked or undrained or case.history.events_of(ServerStalled):
        return None
    return Doubt(
        "nothing-waits", "nothing waits for it: no stall, no missed deadline, no block held at the end"
    )


def _went_on(case: FiredFault) -> Doubt | None:
    """Each request whose load ended among others, reported in reverse, got a token afterwards. Of the order
    of stores' ends neither server nor client shows anything."""
    shown = False
    for record in case.fired:
        for name in _loading(record):
            if not any(token_after(request, record.t_ns) for request in case.named[name]):
                return Doubt(
                    "no-token-afterwards",
                    f"{name}, whose load was reported in reverse, got no token afterwards",
                )
            shown = True
    if shown:
        return None
    return Doubt("no-order-shown", "nothing shows the order in which the server received these ends")


def _loading(record: FaultRecord) -> list[str]:
    """The requests of the loads among the ends that were reported in reverse."""
    ends = record.firing
    if not isinstance(ends, CompletionsReordered):
        return []
    return [
        name
        for direction, name in zip(ends.directions, ends.requests, strict=True)
        if direction == "load" and name
    ]


COPY_FAULT_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "copy_delay": _copy_delay,
    "copy_raises": server_died,
    "copy_refused": server_died,
    "copy_failed": server_died,
    "load_failure": _load_failure,
    "load_failed": _load_failed,
    "completion_late": _waited,
    "completion_lost": _stuck,
    "completion_reorder": _went_on,
    "completion_twice": server_died,
}
