"""Did a fault of the network have its consequence? By what the clients saw, and by what the server did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from history.protocol.outside import BytesDelayed, SlowRead
from history.records import FaultRecord, RequestRecord
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.struck_requests import (
    CONNECTION_ERRORS,
    FaultWindow,
    fault_window,
    given_up,
    reverting_line,
)
from oracles.views.timeline import NS_PER_S, NS_PER_US, end_ns

US_PER_MS = 1000

IN_PIPES_NS = NS_PER_S // 4
"""What the client's kernel had already, it may read so much later."""
SHARE = 0.9
"""Of the time that was injected: what the client's own clock must show."""
NOBODY = Doubt("no-request", "no request was on its way")


def _cut(case: FiredFault) -> Doubt | None:
    """Whoever was on their way failed by their connection, and the server gave them up."""
    left = given_up(case.history)
    for line in case.fired:
        cut = _named(case, line)
        if not cut:
            return NOBODY
        for record in cut:
            if record.outcome == "ok":
                return Doubt("answered-all-the-same", f"request {record.id} was answered all the same")
            if record.error is None or record.error.kind not in CONNECTION_ERRORS:
                return Doubt(
                    "not-failed-by-connection", f"request {record.id} did not fail by its connection"
                )
        if not any(record.id in left for record in cut):
            return Doubt("not-given-up", "the server's journal tells of none of them that it gave them up")
    return None


def _stall(case: FiredFault) -> Doubt | None:
    """No token came as long as it lasted, and one did afterwards to each that waited."""
    for line in case.fired:
        during, waiting = fault_window(case.history, line), _named(case, line)
        if during.end_ns is None:
            return Doubt("strike-unseen", f"nobody saw the end of the strike at arrival {line.n}")
        if not waiting:
            return NOBODY
        begin_ns, last_ns = during.begin_ns + IN_PIPES_NS, during.end_ns
        for record in waiting:
            if any(begin_ns < t_ns < last_ns for t_ns in _tokens_ns(record)):
                return Doubt("token-meanwhile", f"a token came to request {record.id} meanwhile")
            if end_ns(record) < last_ns:
                return Doubt("did-not-wait", f"request {record.id} did not wait for the end")
    return None


def _latency(case: FiredFault) -> Doubt | None:
    """Whoever came and was answered while it lasted waited for both ways, and others were quicker."""
    delay_ms = max(_bytes_delayed(line).round_trip_ms for line in case.fired)
    windows_in_force = [fault_window(case.history, line) for line in case.fired]
    late = [record for each in windows_in_force for record in _within(case, each)]
    if not late:
        return Doubt("no-request-meanwhile", "no request came and was answered while it lasted")
    for record in late:
        if (waited_ms := _first_ms(record)) < SHARE * delay_ms:
            return Doubt(
                "first-token-too-soon",
                f"request {record.id} got its first token after {waited_ms:.0f} ms",
                {"ms": waited_ms},
            )
    known = {record.id for record in late}
    others = [
        _first_ms(record) for record in case.history.requests if record.id not in known and record.chunk_us
    ]
    if not any(waited_ms < delay_ms for waited_ms in others):
        return Doubt("not-slower", "requests were as slow without it")
    return None


def _loss(case: FiredFault) -> Doubt | None:
    """Somebody whose bytes were lost got no token for as long as they took to come again."""
    for line in case.fired:
        again_ms = _bytes_delayed(line).shortest_ms
        if not any(_longest_silence_ms(record) >= SHARE * again_ms for record in _named(case, line)):
            return Doubt(
                "no-silence",
                f"no request of the strike at arrival {line.n} was silent for {again_ms:g} ms",
                {"ms": again_ms},
            )
    return None


def _slow(case: FiredFault) -> Doubt | None:
    """These answers took as long as their bytes lay there unread, and others did not wait for them."""
    for line in case.fired:
        end = reverting_line(case.history, line)
        if end is None:
            return Doubt("strike-unseen", f"nobody saw the end of the strike at arrival {line.n}")
        did = end.reverted
        slow, unread_ms = _named(case, line), did.unread_ms if isinstance(did, SlowRead) else 0.0
        took_ms = sum(record.end_us / US_PER_MS for record in slow)
        if took_ms < SHARE * unread_ms:
            return Doubt(
                "too-quick",
                f"they took {took_ms:.0f} ms, and their bytes lay unread for {unread_ms:.0f} ms",
                {"took_ms": took_ms, "unread_ms": unread_ms},
            )
        if not _overtaken(case, slow):
            return Doubt("none-answered-meanwhile", "no other request was answered meanwhile")
    return None


def _overtaken(case: FiredFault, slow: list[RequestRecord]) -> bool:
    """Whether a request that began after a slow one, ended before it."""
    names = {record.id for record in slow}
    return any(
        first.start_ns < record.start_ns and end_ns(record) < end_ns(first)
        for first in slow
        for record in case.history.requests
        if record.outcome == "ok" and record.id not in names
    )


def _named(case: FiredFault, line: FaultRecord) -> list[RequestRecord]:
    """Our records of whom a strike names."""
    names = fault_window(case.history, line).requests
    return [record for record in case.history.requests if record.id in names]


def _within(case: FiredFault, during: FaultWindow) -> Iterator[RequestRecord]:
    """Requests of the fault's phases that were sent, and got their first token, while it lasted."""
    phases = {phase.spec.name for phase in case.phases}
    for record in case.history.requests:
        if record.phase not in phases or not record.chunk_us or during.end_ns is None:
            continue
        if record.start_ns >= during.begin_ns + IN_PIPES_NS and next(_tokens_ns(record)) <= during.end_ns:
            yield record


def _tokens_ns(record: RequestRecord) -> Iterator[int]:
    return (record.start_ns + us * NS_PER_US for us in record.chunk_us)


def _first_ms(record: RequestRecord) -> float:
    return record.chunk_us[0] / US_PER_MS


def _longest_silence_ms(record: RequestRecord) -> float:
    """From its start to its last token."""
    return max((later - earlier for earlier, later in pairwise((0, *record.chunk_us))), default=0) / US_PER_MS


def _bytes_delayed(line: FaultRecord) -> BytesDelayed:
    firing = line.firing
    return firing if isinstance(firing, BytesDelayed) else BytesDelayed()


NETWORK_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "network_cut": _cut,
    "network_stall": _stall,
    "network_latency": _latency,
    "network_loss": _loss,
    "slow_reader": _slow,
}
