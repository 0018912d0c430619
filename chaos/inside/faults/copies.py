"""Copies between device and tier: refused, raised at, begun later; and loads that are reported as failed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
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
    FaultKind,
    Parameter,
    ProofCase,
    delay_s,
    server_died,
)
from chaos.inside.injection_points import COPY, LOAD_RESULT, CopyRequest, FinishedLoad
from chaos.inside.trigger_decisions import InjectedFailure, Injection
from history.protocol.evidence import CopyDelayed, CopyFired, LoadBlocksFailed, LoadFailed, LoadRetried

if TYPE_CHECKING:
    from history.fired_fault import Doubt, FiredFault


def _raise(injection: Injection, copy: CopyRequest) -> None:
    injection.fired(CopyFired(job=copy.job, direction=copy.direction))
    raise InjectedFailure(f"kvchaos: the copy of job {copy.job} raises on purpose")


COPY_RAISES = FaultKind(
    name="copy_raises",
    role=WORKER,
    site=COPY,
    contract=CONTRACT_VIOLATING,
    effect="the call that requests a copy raises an exception; an invocation is a copy of the direction",
    evidence="job, direction",
    consequence="up to 0.24 it counts as a refused copy; later no code catches it, and the engine dies",
    heals=NEVER,
    parameters={"direction": DIRECTION, "dry_run": DRY_RUN},
    excludes="copy-taken",
    declared=(DIES,),
    firing=CopyFired,
    inject=_raise,
    check=server_died,
    proof=DEATH,
)


def _refuse(injection: Injection, copy: CopyRequest) -> None:
    copy.refused = True
    injection.fired(CopyFired(job=copy.job, direction=copy.direction))


COPY_REFUSED = FaultKind(
    name="copy_refused",
    role=WORKER,
    site=COPY,
    contract=CONTRACT_VIOLATING,
    effect="the worker refuses a copy; an invocation is a copy of the direction",
    evidence="job, direction",
    consequence=SCHEDULER_DIES,
    heals=NEVER,
    parameters={"direction": DIRECTION, "dry_run": DRY_RUN},
    excludes="copy-taken",
    declared=(DIES,),
    firing=CopyFired,
    inject=_refuse,
    check=server_died,
    proof=DEATH,
)


def _delay(injection: Injection, copy: CopyRequest) -> None:
    """The evidence has the time until the copy really began."""
    copy.delay_s, copy.delayed_by = delay_s(injection), injection


COPY_TIME_SHARE = 0.9
"""Share of the injected delay that the server's own clocks must show."""


def _clocks_show_it(case: FiredFault) -> Doubt | None:
    """The server's own clocks for transfers show the delay, in each direction that was struck."""
    for direction in ("load", "store"):
        delays_ms = [delay.ms for delay in _delays(case) if delay.direction == direction]
        if not delays_ms:
            continue
        injected_s = sum(delays_ms) / 1000
        grown_s = _copy_seconds(case, direction)
        if grown_s is None:
            return case.doubt("no-copy-time", f"the server reports no {direction} time")
        if grown_s < COPY_TIME_SHARE * injected_s:
            return case.doubt(
                "copy-time-too-short",
                f"the server's {direction} time grew by {grown_s:.3f} s for {injected_s:.3f} s injected",
                {"grown_s": grown_s, "injected_s": injected_s},
            )
    return None


def _delays(case: FiredFault) -> Iterator[CopyDelayed]:
    firings = (record.firing for record in case.fired)
    return (firing for firing in firings if isinstance(firing, CopyDelayed))


def _copy_seconds(case: FiredFault, direction: str) -> float | None:
    """Seconds of transfers by the name of the release: a counter each from 0.24, one with labels before."""
    flat = case.growth_to_the_end(f"vllm:kv_offload_{direction}_time_total")
    if flat is not None:
        return flat
    transfer_type = {"load": "CPU_to_GPU", "store": "GPU_to_CPU"}[direction]
    return case.growth_to_the_end("vllm:kv_offload_total_time_total", transfer_type=transfer_type)


COPY_DELAY = FaultKind(
    name="copy_delay",
    role=WORKER,
    site=COPY,
    contract=CONFORMING,
    effect="a copy starts later, and so ends later; an invocation is a copy of the direction",
    evidence="job, direction, milliseconds of delay",
    consequence="the server's transfer time grows by the delay",
    heals="when the last delayed copy has ended",
    parameters={
        "direction": Parameter("both", choices=DIRECTION.choices, about=DIRECTION.about),
        **DELAY,
        "dry_run": DRY_RUN,
    },
    firing=CopyDelayed,
    inject=_delay,
    check=_clocks_show_it,
    proof=ProofCase(shown="the server's transfer time grew by the delays"),
)

RECOVERED = re.compile(r"Recovered from KV load failure")
FAILED_BY_POLICY = re.compile(r"Failing \d+ request\(s\) due to KV load failure")


def _fail_blocks(injection: Injection, load: FinishedLoad) -> None:
    failed = _chosen(injection, load.blocks)
    load.failed += failed
    if injection.params["content"] == "zero":
        load.zeroed += failed
    injection.fired(LoadBlocksFailed(blocks=failed, of=len(load.blocks)))


def _chosen(injection: Injection, blocks: list[int]) -> list[int]:
    match injection.params["blocks"]:
        case "first":
            return blocks[:1]
        case "middle":
            return [blocks[len(blocks) // 2]]
        case "last":
            return blocks[-1:]
        case "all":
            return list(blocks)
        case _:
            return [blocks[injection.draw("block") % len(blocks)]]


def _recovered(case: FiredFault) -> Doubt | None:
    """The server said that it recovered, or failed a request, as its policy has it."""
    if case.history.plan.scenario.server.load_failure_policy == "recompute":
        if case.log_lines(RECOVERED):
            return None
        return case.doubt("no-recovery", "the log shows no recovery from a load failure")
    names = case.phase_names
    errors = any(
        record.phase in names and record.outcome == "error" and record.status is not None
        for record in case.history.requests
    )
    if errors or case.log_lines(FAILED_BY_POLICY):
        return None
    return case.doubt("no-request-failed-by-policy", "no request failed by policy")


LOAD_FAILURE = FaultKind(
    name="load_failure",
    role=WORKER,
    site=LOAD_RESULT,
    contract=CONFORMING,
    effect="blocks of a finished load are reported as failed; an invocation is a finished load",
    evidence="request, device blocks reported",
    consequence='the server logs "Recovered from KV load failure", or fails the request by policy',
    heals="at once: later loads succeed",
    parameters={
        "blocks": Parameter(
            "one", choices=("first", "middle", "last", "one", "all"), about="which of the load's blocks"
        ),
        "content": Parameter(
            "kept", choices=("kept", "zero"), about="what lies in the blocks that are reported"
        ),
        "dry_run": DRY_RUN,
    },
    excludes=LOAD_RESULT,
    firing=LoadBlocksFailed,
    inject=_fail_blocks,
    check=_recovered,
    proof=ProofCase(log_line=re.compile(f"{RECOVERED.pattern}|{FAILED_BY_POLICY.pattern}")),
)


def _give_up(injection: Injection, load: FinishedLoad) -> None:
    load.given_up = True
    injection.fired(LoadFailed(blocks=len(load.blocks)))


def _retried(case: FiredFault) -> Doubt | None:
    """The server looked up the blocks of each such request again, or failed it, by its policy."""
    last_retry_ns: dict[str | None, int] = defaultdict(int)
    for line in case.history.faults:
        if isinstance(line.note, LoadRetried):
            last_retry_ns[line.request] = max(line.t_ns, last_retry_ns[line.request])
    for record in case.fired:
        if case.history.plan.scenario.server.load_failure_policy == "recompute":
            if last_retry_ns[record.request] <= record.t_ns:
                return case.doubt(
                    "not-asked-again", f"the request of invocation {record.n} was not looked up again"
                )
        elif not any(request.outcome == "error" for request in case.requests_of(record)):
            return case.doubt(
                "no-request-failed-by-policy", f"the request of invocation {record.n} did not fail by policy"
            )
    return None


LOAD_FAILED = FaultKind(
    name="load_failed",
    role=WORKER,
    site=LOAD_RESULT,
    contract=CONFORMING,
    effect="a finished load is reported as failed, whole; an invocation is a finished load",
    evidence="request, number of device blocks",
    consequence="the request is looked up in the tier again, from its first token on, or fails by policy",
    heals="at once: later loads succeed",
    parameters={"dry_run": DRY_RUN},
    since="0.30",
    call="get_transfer_results",
    excludes=LOAD_RESULT,
    firing=LoadFailed,
    inject=_give_up,
    check=_retried,
    proof=ProofCase(shown="the requests were looked up in the tier again"),
)

FAULTS = (COPY_RAISES, COPY_REFUSED, COPY_DELAY, LOAD_FAILURE, LOAD_FAILED)
