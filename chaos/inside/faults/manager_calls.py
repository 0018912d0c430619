"""Calls of the tier's manager: hits hidden or put off, misses claimed, blocks evicted, calls that raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.inside.fault_kind import (
    CONFORMING,
    CONTRACT_VIOLATING,
    DEATH,
    DIES,
    DRY_RUN,
    ENGINE_DIES,
    NEVER,
    SCHEDULER,
    FaultKind,
    Parameter,
    ProofCase,
    server_died,
)
from chaos.inside.injection_points import (
    LOOKUP,
    LOOKUP_MISS,
    MANAGER_CALL,
    FoundBlock,
    ManagerCall,
    MissingBlock,
)
from chaos.inside.trigger_decisions import InjectedFailure, Injection
from history.protocol.evidence import Count, Firing

if TYPE_CHECKING:
    from history.fired_fault import Doubt, FiredFault


class BlockLookup(Firing, frozen=True):
    """The block that was looked up."""

    key: str
    """Hexadecimal, as all keys."""


class LookupMissed(BlockLookup, frozen=True):
    """A lookup returned fewer blocks than the tier has. Of `lookup_miss`."""

    hit_blocks: Count
    answered_blocks: Count


class EvictedAfterHit(BlockLookup, frozen=True):
    """Blocks were evicted between their lookup and their load. Of `evict_after_hit`."""

    blocks: Count
    """That were evicted."""


def _hide(injection: Injection, block: FoundBlock) -> None:
    block.answer = "miss"
    injection.fired(LookupMissed(key=block.key.hex(), hit_blocks=block.hits, answered_blocks=block.earlier))


def _computed_itself(case: FiredFault) -> Doubt | None:
    """A request with an injected miss computed at least one whole block of its prompt, by its usage."""
    size = case.history.plan.scenario.server.block_size
    reported = False
    for record in case.fired:
        for request in case.requests_of(record):
            if request.usage is None or request.usage.cached_tokens is None:
                continue
            reported = True
            # The last token is always computed, so a prompt's last full block counts up to there only.
            whole = (request.prompt_tokens - 1) // size * size
            if request.usage.cached_tokens <= whole - size:
                return None
    if reported:
        return case.doubt("cached-all-the-same", "every struck request still had cached blocks")
    return case.doubt("no-usage", "no struck request reports its cached tokens")


LOOKUP_MISS_FAULT = FaultKind(
    name="lookup_miss",
    role=SCHEDULER,
    site=LOOKUP,
    contract=CONFORMING,
    effect="the lookup of a block in the tier returns a miss; an invocation is a block that would hit",
    evidence="key of the block, blocks that hit, blocks answered",
    consequence="external hits are fewer than queries; the tokens are recomputed",
    heals="at once: the block is still there",
    parameters={"dry_run": DRY_RUN},
    keyed=True,
    excludes="lookup",
    firing=LookupMissed,
    inject=_hide,
    check=_computed_itself,
    proof=ProofCase(trigger={"probability": 0.5, "limit": 10}, shown="struck requests computed their blocks"),
)


def _put_off(injection: Injection, block: FoundBlock) -> None:
    block.answer = "retry"
    injection.fired(BlockLookup(key=block.key.hex()))


def _looked_up_again(case: FiredFault) -> Doubt | None:
    """A request that was deferred got its first token afterwards: its blocks were looked up again."""
    for record in case.fired:
        if any(case.token_after(request, record.t_ns) for request in case.requests_of(record)):
            return None
    return case.doubt("no-token-afterwards", "no deferred request got a token afterwards")


LOOKUP_RETRY_FAULT = FaultKind(
    name="lookup_retry",
    role=SCHEDULER,
    site=LOOKUP,
    contract=CONFORMING,
    effect="the lookup of a block in the tier is deferred; an invocation is a block that would hit",
    evidence="key of the block",
    consequence="the request waits and is looked up again; without a limit it waits for ever",
    heals="at once: the next lookup returns the block",
    parameters={"dry_run": DRY_RUN},
    keyed=True,
    excludes="lookup",
    firing=BlockLookup,
    inject=_put_off,
    check=_looked_up_again,
    proof=ProofCase(shown="deferred requests got their tokens afterwards"),
)


def _claim(injection: Injection, block: MissingBlock) -> None:
    block.claimed = True
    injection.fired(BlockLookup(key=block.key.hex()))


OVER_REPORT = FaultKind(
    name="over_report",
    role=SCHEDULER,
    site=LOOKUP_MISS,
    contract=CONTRACT_VIOLATING,
    effect="the lookup of a missing block returns a hit; an invocation is a block that would miss",
    evidence="key of the block",
    consequence="the engine asserts when it is to be loaded, and dies",
    heals=NEVER,
    parameters={"dry_run": DRY_RUN},
    keyed=True,
    declared=(DIES,),
    firing=BlockLookup,
    inject=_claim,
    check=server_died,
    proof=ProofCase(trigger=DEATH.trigger, ends_server=True, needs_stores=True),
)


def _evict_idle(injection: Injection, block: FoundBlock) -> None:
    injection.fired(EvictedAfterHit(key=block.key.hex(), blocks=len(block.evict_idle())))


EVICT_AFTER_HIT = FaultKind(
    name="evict_after_hit",
    role=SCHEDULER,
    site=LOOKUP,
    contract=CONTRACT_VIOLATING,
    effect="a block is evicted between its hit and its load; an invocation is a block that hits",
    evidence="key of the block, blocks evicted",
    consequence="the engine asserts when it is to be loaded, and dies",
    heals=NEVER,
    parameters={"dry_run": DRY_RUN},
    keyed=True,
    excludes="lookup",
    declared=(DIES,),
    firing=EvictedAfterHit,
    inject=_evict_idle,
    check=server_died,
    proof=DEATH,
)

HOOKS = ("lookup", "prepare_load", "prepare_store", "complete_load", "complete_store")
"""The calls of the tier's manager."""


class ManagerRaised(Firing, frozen=True):
    """A call of the manager raised an exception. Of `manager_raises`."""

    hook: str


def _raise(injection: Injection, call: ManagerCall) -> None:
    injection.fired(ManagerRaised(hook=call.hook))
    raise InjectedFailure(f"kvchaos: {call.hook} raises on purpose")


MANAGER_RAISES = FaultKind(
    name="manager_raises",
    role=SCHEDULER,
    site=MANAGER_CALL,
    contract=CONTRACT_VIOLATING,
    effect="a call to the tier's manager raises an exception; an invocation is a call of the hook",
    evidence="hook",
    consequence=ENGINE_DIES,
    heals=NEVER,
    parameters={
        "hook": Parameter("prepare_store", choices=HOOKS, about="which call"),
        "dry_run": DRY_RUN,
    },
    declared=(DIES,),
    firing=ManagerRaised,
    inject=_raise,
    check=server_died,
    proof=DEATH,
)

FAULTS = (LOOKUP_MISS_FAULT, LOOKUP_RETRY_FAULT, OVER_REPORT, EVICT_AFTER_HIT, MANAGER_RAISES)
