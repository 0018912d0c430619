"""Stores to the tier and its room: blocks evicted, room taken, stores refused or reported as failed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.inside.fault_kind import CONFORMING, DRY_RUN, SCHEDULER, FaultKind, Parameter, ProofCase
from chaos.inside.injection_points import (
    RESIDENCY,
    STORE,
    STORE_END,
    FinishedStore,
    NewStore,
    TierBeforeStore,
)
from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import BlockStoredAgain, Count, Firing

if TYPE_CHECKING:
    from history.fired_fault import Doubt, FiredFault

MOST_BLOCKS = 1_000_000
STORE_REFUSED = re.compile(r"cannot store")
"""0.18: "Request X: cannot store N blocks"; 0.32: "Request X: cannot store chunks"."""
ALLOCATION_FAILURES = "vllm:kv_offload_allocation_failure_total"


class TierBlocks(Firing, frozen=True):
    """Blocks that left the tier, or were not taken."""

    blocks: Count
    key: str
    """Key of the first block, hexadecimal."""


class TierShrunk(Firing, frozen=True):
    """Blocks of the tier were occupied, so that few are left for stores. Of `tier_shrunk`."""

    blocks: Count
    """That are occupied."""
    left: Count


def _evict(injection: Injection, tier: TierBeforeStore) -> None:
    gone = tier.evict(int(injection.params["blocks"]))
    if not gone:
        injection.refused("no-idle-block")
        return
    injection.fired(TierBlocks(blocks=len(gone), key=bytes(gone[0]).hex()))
    tier.removed(gone, injection)


def _stored_again(case: FiredFault) -> Doubt | None:
    """The server stored a block again that this fault had taken from the tier."""
    for line in case.history.faults:
        if line.fault == case.fault.id and isinstance(line.note, BlockStoredAgain):
            return None
    return case.doubt("not-stored-again", "the server stored none of the lost blocks again")


EVICT = FaultKind(
    name="evict",
    role=SCHEDULER,
    site=RESIDENCY,
    contract=CONFORMING,
    effect="the manager evicts idle blocks from the tier; an invocation is a store",
    evidence="blocks evicted",
    consequence="external hits are fewer than queries; the tokens are recomputed and stored again",
    heals="as the blocks are stored again",
    parameters={
        "blocks": Parameter(1, 1, MOST_BLOCKS, about="how many, or all that are idle if there are fewer"),
        "dry_run": DRY_RUN,
    },
    excludes="residency",
    firing=TierBlocks,
    inject=_evict,
    check=_stored_again,
    proof=ProofCase(
        # Once there is something to lose, and rounds are left that ask for it again. The oldest idle blocks
        # are those of earlier phases, which are not requested any more.
        trigger={"every": 8, "offset": 16, "limit": 4},
        params={"blocks": 10_000},
        needs_stores=True,
        shown="the server stored lost blocks again",
    ),
)


def _shrink(injection: Injection, tier: TierBeforeStore) -> None:
    left = int(injection.params["leave"])
    injection.fired(TierShrunk(blocks=tier.occupy(left, injection), left=left))


def _no_room(case: FiredFault) -> Doubt | None:
    """A store found no room."""
    if case.log_lines(STORE_REFUSED) or (case.growth_to_the_end(ALLOCATION_FAILURES) or 0) > 0:
        return None
    return case.doubt("no-store-refused", "no store was refused")


TIER_SHRUNK = FaultKind(
    name="tier_shrunk",
    role=SCHEDULER,
    site=RESIDENCY,
    contract=CONFORMING,
    effect="made-up blocks occupy all but a few blocks of the tier; an invocation is a store",
    evidence="blocks occupied, blocks left",
    consequence='stores find no room: the server logs "cannot store"',
    heals="with the next call to the tier after healing",
    parameters={
        "leave": Parameter(4, 0, MOST_BLOCKS, about="blocks that stay usable"),
        "dry_run": DRY_RUN,
    },
    excludes="residency",
    firing=TierShrunk,
    inject=_shrink,
    check=_no_room,
    proof=ProofCase(needs_stores=True, log_line=STORE_REFUSED),
)


def _fail(injection: Injection, store: FinishedStore) -> None:
    store.failed = True
    injection.fired(TierBlocks(blocks=len(store.blocks), key=bytes(next(iter(store.blocks))).hex()))
    store.removed(store.blocks, injection)


STORE_FAILED = FaultKind(
    name="store_failed",
    role=SCHEDULER,
    site=STORE_END,
    contract=CONFORMING,
    effect="a store is reported as failed, and the tier drops its blocks; an invocation is a finished store",
    evidence="number of blocks dropped, first key",
    consequence="the blocks are not found again: external hits are fewer than queries",
    heals="at once: the next store succeeds",
    parameters={"dry_run": DRY_RUN},
    firing=TierBlocks,
    inject=_fail,
    check=_stored_again,
    proof=ProofCase(needs_stores=True, shown="the server stored lost blocks again"),
)


def _refuse(injection: Injection, store: NewStore) -> None:
    store.refused = True
    injection.fired(TierBlocks(blocks=len(store.blocks), key=bytes(store.blocks[0]).hex()))


def _refusals_noticed(case: FiredFault) -> Doubt | None:
    """The server said, as often as it was refused, that it cannot store."""
    counted = max(case.log_lines(STORE_REFUSED), case.growth(ALLOCATION_FAILURES) or 0.0)
    if counted >= len(case.fired):
        return None
    return case.doubt(
        "refusals-not-noticed", f"the server logged only {counted:g} refused stores", {"noticed": counted}
    )


STORE_REFUSED_FAULT = FaultKind(
    name="store_refused",
    role=SCHEDULER,
    site=STORE,
    contract=CONFORMING,
    effect="the tier refuses all blocks of a store; an invocation is a store that brings a new block",
    evidence="number of blocks refused, first key",
    consequence='the server logs "cannot store"',
    heals="at once: the next store is accepted",
    parameters={"dry_run": DRY_RUN},
    firing=TierBlocks,
    inject=_refuse,
    check=_refusals_noticed,
    proof=ProofCase(needs_stores=True, log_line=STORE_REFUSED),
)

FAULTS = (EVICT, TIER_SHRUNK, STORE_FAILED, STORE_REFUSED_FAULT)
