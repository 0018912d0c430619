"""How the ends of copies are reported: as failed, later, never, twice, in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.inside.fault_kind import (
    CONFORMING,
    CONTRACT_VIOLATING,
    DEATH,
    DELAY,
    DIES,
    DIRECTION,
    DRY_RUN,
    NEVER,
    SCHEDULER_DIES,
    WORKER,
    Effect,
    EffectCheck,
    FaultKind,
    Parameter,
    ProofCase,
    delay_s,
    server_died,
)
from chaos.inside.injection_points import COPY_RESULT, COPY_RESULTS, CopyEnd, CopyEnds
from chaos.inside.trigger_decisions import Injection
from history.protocol.audit_records import STORES
from history.protocol.evidence import CompletionsReordered, CopyDelayed, CopyFired

if TYPE_CHECKING:
    from history.fired_fault import Doubt, FiredFault
    from history.records import FaultRecord


def _of_result(
    name: str,
    contract: str,
    effect: str,
    consequence: str,
    heals: str,
    inject: Callable[[Injection, CopyEnd], None],
    check: EffectCheck,
    *,
    proof: ProofCase = DEATH,
    firing: type[CopyFired] = CopyFired,
    more: Mapping[str, Parameter] | None = None,
    declared: tuple[Effect, ...] = (),
    undeclared: str = "",
) -> FaultKind:
    """A kind of fault in how the end of one copy is reported."""
    return FaultKind(
        name=name,
        role=WORKER,
        site=COPY_RESULT,
        contract=contract,
        effect=f"{effect}; an invocation is a finished copy of the direction",
        evidence="job, direction",
        consequence=consequence,
        heals=heals,
        parameters={"direction": DIRECTION, **(more or {}), "dry_run": DRY_RUN},
        excludes=COPY_RESULT,
        declared=declared,
        undeclared=undeclared,
        firing=firing,
        inject=inject,
        check=check,
        proof=proof,
    )


def _evidence(end: CopyEnd) -> CopyFired:
    return CopyFired(job=end.job, direction=end.direction)


def _fail(injection: Injection, end: CopyEnd) -> None:
    end.result.success = False
    injection.fired(_evidence(end))


COPY_FAILED = _of_result(
    "copy_failed",
    CONTRACT_VIOLATING,
    "a finished copy is reported as failed",
    SCHEDULER_DIES,
    NEVER,
    _fail,
    server_died,
    declared=(DIES,),
)


def _lose(injection: Injection, end: CopyEnd) -> None:
    end.reports = 0
    injection.fired(_evidence(end))


def _something_waits(case: FiredFault) -> Doubt | None:
    """A request whose completion is lost waits for ever: a stall, a missed deadline, or leaked blocks."""
    if case.something_waits():
        return None
    return case.doubt(
        "nothing-waits", "no stall, no missed deadline and no leaked block shows that anything waits for it"
    )


LOST_LOAD = (
    Effect(
        rules=("progress/deadlock", "progress/stall", "progress/deadline"), scope="wait", direction="load"
    ),
    Effect(
        rules=("outcomes/truncated-stream", "outcomes/request-failed"),
        scope="struck",
        least=0,
        most=1,
        direction="load",
    ),
    Effect(rules=("transfer-invariants/load-never-ended",), scope="rest", most=1, direction="load"),
    Effect(rules=("drained/blocks-leaked",), scope="rest", most=1, direction="load"),
)
"""The request waits until its client aborts it, and its blocks are never freed."""

COMPLETION_LOST = _of_result(
    "completion_lost",
    CONTRACT_VIOLATING,
    "the end of a copy is never reported",
    "a load: the request never ends; a store: its block is never read",
    "never: requests that wait for the copy wait for ever",
    _lose,
    _something_waits,
    proof=replace(DEATH, shown="a request or a block waits for ever"),
    declared=LOST_LOAD,
    undeclared="a store: which blocks stay in use, and which requests stall, differs by release and load",
)


def _repeat(injection: Injection, end: CopyEnd) -> None:
    if injection.params["later"]:
        end.again = injection, _evidence(end)
        return
    end.reports = 2
    injection.fired(_evidence(end))


COMPLETION_TWICE = _of_result(
    "completion_twice",
    CONTRACT_VIOLATING,
    "the end of a copy is reported twice",
    "the engine no longer knows the job and dies; 0.32 counts two reports in one step as one",
    NEVER,
    _repeat,
    server_died,
    declared=(replace(DIES, when={"later": (True,)}),),
    undeclared="reported twice in one step: some releases count the two as one, others die",
    more={"later": Parameter(True, about="the second time in a later step")},
)


def _delay(injection: Injection, end: CopyEnd) -> None:
    end.delay_s = delay_s(injection)
    ms = round(end.delay_s * 1e3, 3)
    injection.fired(CopyDelayed(job=end.job, direction=end.direction, ms=ms))


SILENT_SHARE = 0.9
"""Share of the injected delay for which a request must have got no token."""


def _waited(case: FiredFault) -> Doubt | None:
    """Require that each request whose load was reported late got no token during the delay.

    For stores, by the transfer audit one store was open at the injection, and at least for its delay.
    """
    stores: list[tuple[int, float]] = []
    for record in case.fired:
        delay = record.firing
        if not isinstance(delay, CopyDelayed):
            continue
        if delay.direction == "store":
            stores.append((record.t_ns, delay.ms))
        elif not _waits(case, record, delay.ms):
            text = f"no request waited the {delay.ms:g} ms of invocation {record.n}"
            return case.doubt("no-wait", text, {"ms": delay.ms})
    if stores and not _stayed_open(case, stores):
        return case.doubt(
            "no-store-kept-open", "the ledger has no store that stayed open until its end was reported"
        )
    return None


def _stayed_open(case: FiredFault, delays: list[tuple[int, float]]) -> bool:
    """Whether a store that took longest was open at the time of a strike, and as long as its delay, ms."""
    balances = (line.balance for line in case.history.ledger)
    accounts = (balance.accounts.get(STORES) for balance in balances if balance is not None)
    longest = [
        (stores.longest_since_ns, stores.longest_ns)
        for stores in accounts
        if stores is not None and stores.longest_since_ns is not None and stores.longest_ns is not None
    ]
    return any(
        since_ns <= t_ns <= since_ns + lasted_ns and lasted_ns >= ms * 1e6
        for t_ns, ms in delays
        for since_ns, lasted_ns in longest
    )


def _waits(case: FiredFault, struck: FaultRecord, ms: float) -> bool:
    """Whether the request that was struck, or any where it is not named, was silent for so long."""
    since_ns, until_ns = struck.t_ns, struck.t_ns + int(SILENT_SHARE * ms * 1e6)
    requests = case.requests_of(struck) if struck.request is not None else case.in_flight_at(since_ns)
    return any(
        record.start_ns <= since_ns
        and case.end_of(record) >= until_ns
        # One that was preempted has had tokens before.
        and not any(since_ns < t_ns < until_ns for t_ns in case.tokens_of(record))
        for record in requests
    )


COMPLETION_LATE = _of_result(
    "completion_late",
    CONFORMING,
    "the end of a copy is reported later",
    "a load: its request gets no token meanwhile; a store: it stays open in the transfer audit",
    "when the last late end was reported",
    _delay,
    _waited,
    proof=ProofCase(
        params={"min_ms": 600, "max_ms": 900},
        shown="until its end was reported a request got no token, or a store stayed open",
    ),
    firing=CopyDelayed,
    more=DELAY,
)


def _reverse(injection: Injection, ends: CopyEnds) -> None:
    ends.reverse()
    injection.fired(CompletionsReordered(jobs=ends.jobs, directions=ends.directions, requests=ends.requests))


def _went_on(case: FiredFault) -> Doubt | None:
    """Require that each request whose load ended among others, in reverse order, got a token afterwards.

    For stores neither server nor client shows the order of their ends.
    """
    shown = False
    for record in case.fired:
        for name in _loading(record):
            if not any(case.token_after(request, record.t_ns) for request in case.requests_named(name)):
                return case.doubt(
                    "no-token-afterwards",
                    f"request {name}, whose load was reported in reverse, got no token afterwards",
                )
            shown = True
    if shown:
        return None
    return case.doubt("no-order-shown", "nothing shows the order in which the server received these ends")


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


COMPLETION_REORDER = FaultKind(
    name="completion_reorder",
    role=WORKER,
    site=COPY_RESULTS,
    contract=CONFORMING,
    effect="the ends of several copies are reported in reverse; an invocation is a step with more than one",
    evidence="jobs, directions and requests in the order of the report",
    consequence="loads: their requests continue; stores: no visible effect, since their order has no meaning",
    heals="at once",
    parameters={"dry_run": DRY_RUN},
    of_request=False,
    firing=CompletionsReordered,
    inject=_reverse,
    check=_went_on,
    proof=ProofCase(
        # The first ends are those of stores; loads come together later.
        trigger={"every": 1},
        needs_stores=True,
        needs_simultaneous_copies=True,
        shown="the requests of these loads continued",
    ),
)

FAULTS = (COPY_FAILED, COMPLETION_LOST, COMPLETION_TWICE, COMPLETION_LATE, COMPLETION_REORDER)
