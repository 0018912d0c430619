"""The faults of the network, applied by the proxy that the load goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Literal

from chaos.inside.fault_kind import CONFORMING, EffectCheck, Parameter
from chaos.outside.injector import EVERYWHERE, NETWORK, TRIGGER_ON, DueInjection, OutsideKind, duration_s
from chaos.outside.network.proxy_control import (
    CutCommand,
    DelayCommand,
    LoseCommand,
    ProxyClient,
    ProxyCommand,
    ProxyEffect,
    ProxyFailed,
    ReadSlowlyCommand,
    RevertCommand,
    StallCommand,
)
from history.fired_fault import Doubt, FaultWindow, FiredFault
from history.protocol.outside import BytesDelayed, NetworkCut, OutsideFiring, SlowRead
from history.records import CONNECTION_ERRORS, FaultRecord, RequestRecord

MS = "milliseconds"
US_PER_MS = 1000
NOBODY = Doubt("no-request", "no request was in flight")
IN_PIPES_NS = 250_000_000
"""What the client's kernel had already, it may read so much later."""
SHARE = 0.9
"""Share of the injected time that the client's own clock must show."""


class _NetworkFault:
    """A network fault, from its command to the proxy to the command that ends it."""

    def __init__(self, proxy: ProxyClient, command: ProxyCommand) -> None:
        self._proxy = proxy
        self._command = command

    def apply(self) -> None:
        self._proxy.send(self._command)

    def verify(self) -> ProxyEffect | None:
        return self._reported("struck")

    def revert(self) -> None:
        # When the proxy has ended, its faults have ended too.
        with suppress(ProxyFailed):
            self._proxy.send(RevertCommand(strike=self._command.strike))

    def reverted(self) -> ProxyEffect | None:
        return self._reported("undone")

    def _reported(self, event: Literal["struck", "undone"]) -> ProxyEffect | None:
        report = self._proxy.report(event, self._command.strike)
        return None if report is None else report.effect


def _name(strike: DueInjection) -> str:
    return f"{strike.fault}/{strike.n}"


def _cut(strike: DueInjection) -> ProxyCommand:
    return CutCommand(strike=_name(strike))


def _failed_by_connection(case: FiredFault) -> Doubt | None:
    """Whoever was on their way failed by their connection, and the server gave them up."""
    left = case.abandoned()
    for line in case.fired:
        cut = _named(case, line)
        if not cut:
            return NOBODY
        for record in cut:
            if record.outcome == "ok":
                return case.doubt("answered-all-the-same", f"request {record.id} was answered nevertheless")
            if record.error is None or record.error.kind not in CONNECTION_ERRORS:
                return case.doubt(
                    "not-failed-by-connection", f"request {record.id} did not fail with a connection error"
                )
        if not any(record.id in left for record in cut):
            return case.doubt("not-given-up", "the server's journal shows an abort of none of them")
    return None


def _stall(strike: DueInjection) -> ProxyCommand:
    return StallCommand(strike=_name(strike))


def _stood_still(case: FiredFault) -> Doubt | None:
    """No token came as long as it lasted, and one did afterwards to each that waited."""
    for line in case.fired:
        during, waiting = case.window(line), _named(case, line)
        if during.end_ns is None:
            return case.doubt("strike-unseen", f"no line has the end of the injection at invocation {line.n}")
        if not waiting:
            return NOBODY
        begin_ns, last_ns = during.begin_ns + IN_PIPES_NS, during.end_ns
        for record in waiting:
            if any(begin_ns < t_ns < last_ns for t_ns in case.tokens_of(record)):
                return case.doubt("token-meanwhile", f"request {record.id} received a token meanwhile")
            if case.end_of(record) < last_ns:
                return case.doubt("did-not-wait", f"request {record.id} did not wait for the end")
    return None


def _delay(strike: DueInjection) -> ProxyCommand:
    up_ms, down_ms, jitter_ms = (float(strike.params[each]) for each in ("up_ms", "down_ms", "jitter_ms"))
    return DelayCommand(
        strike=_name(strike), seed=strike.seed, up_ms=up_ms, down_ms=down_ms, jitter_ms=jitter_ms
    )


def _slower(case: FiredFault) -> Doubt | None:
    """Requests that came and were answered while it lasted waited for both ways, and others were quicker."""
    delay_ms = max(_bytes_delayed(line).round_trip_ms for line in case.fired)
    windows_in_force = [case.window(line) for line in case.fired]
    late = [record for each in windows_in_force for record in _within(case, each)]
    if not late:
        return case.doubt("no-request-meanwhile", "no request was sent and answered during the injection")
    for record in late:
        if (waited_ms := record.chunk_us[0] / US_PER_MS) < SHARE * delay_ms:
            return case.doubt(
                "first-token-too-soon",
                f"request {record.id} got its first token after {waited_ms:.0f} ms",
                {"ms": waited_ms},
            )
    known = {record.id for record in late}
    others = [
        record.chunk_us[0] / US_PER_MS
        for record in case.history.requests
        if record.id not in known and record.chunk_us
    ]
    if not any(waited_ms < delay_ms for waited_ms in others):
        return case.doubt("not-slower", "other requests were as slow")
    return None


def _lose(strike: DueInjection) -> ProxyCommand:
    share, again_ms = float(strike.params["share"]), float(strike.params["again_ms"])
    return LoseCommand(strike=_name(strike), seed=strike.seed, share=share, again_ms=again_ms)


def _silent(case: FiredFault) -> Doubt | None:
    """Somebody whose bytes were lost got no token for as long as they took to come again."""
    for line in case.fired:
        again_ms = _bytes_delayed(line).shortest_ms
        if not any(_longest_silence_ms(record) >= SHARE * again_ms for record in _named(case, line)):
            return case.doubt(
                "no-silence",
                f"no request of the strike at invocation {line.n} was silent for {again_ms:g} ms",
                {"ms": again_ms},
            )
    return None


def _read_slowly(strike: DueInjection) -> ProxyCommand:
    requests, bytes_per_s = int(strike.params["requests"]), float(strike.params["bytes_per_s"])
    return ReadSlowlyCommand(strike=_name(strike), requests=requests, bytes_per_s=bytes_per_s)


def _took_long(case: FiredFault) -> Doubt | None:
    """These answers took as long as their bytes lay there unread, and others did not wait for them."""
    for line in case.fired:
        did = case.reverted(line)
        if did is None:
            return case.doubt("strike-unseen", f"no line has the end of the injection at invocation {line.n}")
        slow, unread_ms = _named(case, line), did.unread_ms if isinstance(did, SlowRead) else 0.0
        took_ms = sum(record.end_us / US_PER_MS for record in slow)
        if took_ms < SHARE * unread_ms:
            return case.doubt(
                "too-quick",
                f"they took {took_ms:.0f} ms, but their bytes were unread for {unread_ms:.0f} ms",
                {"took_ms": took_ms, "unread_ms": unread_ms},
            )
        if not _overtaken(case, slow):
            return case.doubt("none-answered-meanwhile", "no other request was answered meanwhile")
    return None


def _overtaken(case: FiredFault, slow: list[RequestRecord]) -> bool:
    """Whether a request that began after a slow one, ended before it."""
    names = {record.id for record in slow}
    return any(
        first.start_ns < record.start_ns and case.end_of(record) < case.end_of(first)
        for first in slow
        for record in case.history.requests
        if record.outcome == "ok" and record.id not in names
    )


def _named(case: FiredFault, line: FaultRecord) -> list[RequestRecord]:
    """Our records of whom a strike names."""
    names = case.window(line).requests
    return [record for record in case.history.requests if record.id in names]


def _within(case: FiredFault, during: FaultWindow) -> Iterator[RequestRecord]:
    """Requests of the fault's phases that were sent, and got their first token, while it lasted."""
    phases = {phase.spec.name for phase in case.phases}
    for record in case.history.requests:
        if record.phase not in phases or not record.chunk_us or during.end_ns is None:
            continue
        if record.start_ns >= during.begin_ns + IN_PIPES_NS and next(case.tokens_of(record)) <= during.end_ns:
            yield record


def _longest_silence_ms(record: RequestRecord) -> float:
    """The longest silence from the start of a request to its last token."""
    return max((later - earlier for earlier, later in pairwise((0, *record.chunk_us))), default=0) / US_PER_MS


def _bytes_delayed(line: FaultRecord) -> BytesDelayed:
    firing = line.firing
    return firing if isinstance(firing, BytesDelayed) else BytesDelayed()


def _network_kind(
    name: str,
    command: Callable[[DueInjection], ProxyCommand],
    check: EffectCheck,
    firing: type[OutsideFiring],
    effect: str,
    evidence: str,
    consequence: str,
    heals: str,
    *,
    silences: bool = False,
    **parameters: Parameter,
) -> OutsideKind:
    return OutsideKind(
        name=name,
        target=NETWORK,
        contract=CONFORMING,
        effect=effect,
        evidence=evidence,
        consequence=consequence,
        heals=heals,
        parameters={"trigger_on": TRIGGER_ON, **parameters},
        stacks=EVERYWHERE,
        firing=firing,
        reverted=firing,
        inject=lambda injection, proxy: _NetworkFault(proxy, command(injection)),
        check=check,
        silences=silences,
    )


FAULTS = (
    _network_kind(
        "network_cut",
        _cut,
        _failed_by_connection,
        NetworkCut,
        "every connection is reset, and so is each new one",
        "connections reset, requests in flight on them, connections refused",
        "these requests fail, and no others; the server aborts them",
        "new connections pass",
        silences=True,
        duration_s=duration_s(1.0, "until connections can be made again"),
    ),
    _network_kind(
        "network_stall",
        _stall,
        _stood_still,
        BytesDelayed,
        "no byte passes; none is lost",
        "bytes that wait, and their requests",
        "no token arrives meanwhile, and the requests continue afterwards",
        "when the delayed bytes have passed",
        silences=True,
        duration_s=duration_s(2.0, "until bytes pass again"),
    ),
    _network_kind(
        "network_latency",
        _delay,
        _slower,
        BytesDelayed,
        "every byte arrives later",
        "delayed bytes, their delay, and their requests",
        "the first token of every request is delayed by the round trip",
        "bytes pass at once",
        duration_s=duration_s(60.0, "that the fault lasts"),
        up_ms=Parameter(50, 0, 10_000, about=f"{MS} from the client to the server"),
        down_ms=Parameter(50, 0, 10_000, about=f"{MS} from the server to the client"),
        jitter_ms=Parameter(0, 0, 10_000, about=f"the most additional {MS}, chosen at random for each chunk"),
    ),
    _network_kind(
        "network_loss",
        _lose,
        _silent,
        BytesDelayed,
        "some chunks of the stream are lost and sent again, and later bytes wait, as with TCP",
        "delayed bytes, their delay, and their requests",
        "a request that lost bytes gets no token for as long",
        "when no more bytes are lost",
        duration_s=duration_s(60.0, "that the fault lasts"),
        share=Parameter(
            0.02, 0.0, 1.0, about="share of the chunks that are lost, also when they are sent again"
        ),
        again_ms=Parameter(200, 1, 10_000, about=f"{MS} until they are sent again; doubled each time"),
    ),
    _network_kind(
        "slow_reader",
        _read_slowly,
        _took_long,
        SlowRead,
        "the answers to the next requests are read slowly, through a small receive buffer",
        "bytes that were unread at the client, and for how long",
        "these answers take that long; the server delays no other answer",
        "the rest is read at once",
        duration_s=duration_s(60.0, "until the rest is read at once"),
        requests=Parameter(1, 1, 10_000, about="number of requests"),
        bytes_per_s=Parameter(4000, 1, 100_000_000, about="bytes that are read a second"),
    ),
)
