"""The kinds of fault in the scheduler: lookups, evictions and stores of the offload tier."""

from __future__ import annotations

from chaos.inside.common_parameters import DRY_RUN, ENGINE_DIES, NEVER
from chaos.inside.effects import DIES
from chaos.inside.fault_kind import HOSTILE, LEGAL, SCHEDULER, FaultKind, Parameter

MOST_BLOCKS = 1_000_000
HOOKS = ("lookup", "prepare_load", "prepare_store", "complete_load", "complete_store")
"""The calls of the tier's manager."""

SCHEDULER_KINDS = (
    FaultKind(
        name="lookup_miss",
        role=SCHEDULER,
        site="lookup",
        contract=LEGAL,
        effect="a block that is in the tier is answered as missing; an arrival is a block that would hit",
        evidence="key of the block, blocks that hit, blocks answered",
        consequence="external hits stay behind queries; the tokens are computed again",
        heals="at once: the block is still there",
        parameters={"dry_run": DRY_RUN},
        keyed=True,
        excludes="lookup",
    ),
    FaultKind(
        name="lookup_retry",
        role=SCHEDULER,
        site="lookup",
        contract=LEGAL,
        effect="a block that is in the tier is put off to a later time; an arrival is a block that would hit",
        evidence="key of the block",
        consequence="the request waits and is asked for again; without a limit it waits for ever",
        heals="at once: the next time it is answered",
        parameters={"dry_run": DRY_RUN},
        keyed=True,
        excludes="lookup",
    ),
    FaultKind(
        name="over_report",
        role=SCHEDULER,
        site="lookup-miss",
        contract=HOSTILE,
        effect="a block that is not in the tier is answered as a hit; an arrival is a block that would miss",
        evidence="key of the block",
        consequence="the engine asserts when it is to be loaded, and dies",
        heals=NEVER,
        parameters={"dry_run": DRY_RUN},
        keyed=True,
        declared=(DIES,),
    ),
    FaultKind(
        name="evict_after_hit",
        role=SCHEDULER,
        site="lookup",
        contract=HOSTILE,
        effect="a block is evicted between its hit and its load; an arrival is a block that hits",
        evidence="key of the block, blocks evicted",
        consequence="the engine asserts when it is to be loaded, and dies",
        heals=NEVER,
        parameters={"dry_run": DRY_RUN},
        keyed=True,
        excludes="lookup",
        declared=(DIES,),
    ),
    FaultKind(
        name="evict",
        role=SCHEDULER,
        site="residency",
        contract=LEGAL,
        effect="idle blocks leave the tier, the manager chooses which; an arrival is a store",
        evidence="blocks evicted",
        consequence="external hits stay behind queries; the tokens are computed and stored again",
        heals="as the blocks are stored again",
        parameters={
            "blocks": Parameter(1, 1, MOST_BLOCKS, about="how many, or all that are idle if there are fewer"),
            "dry_run": DRY_RUN,
        },
        excludes="residency",
    ),
    FaultKind(
        name="tier_shrunk",
        role=SCHEDULER,
        site="residency",
        contract=LEGAL,
        effect="made-up blocks occupy the tier but for a few; an arrival is a store",
        evidence="blocks occupied, blocks left",
        consequence='stores find no room: the server logs "cannot store"',
        heals="with the next call to the tier after healing",
        parameters={
            "leave": Parameter(4, 0, MOST_BLOCKS, about="blocks that stay usable"),
            "dry_run": DRY_RUN,
        },
        excludes="residency",
    ),
    FaultKind(
        name="store_failed",
        role=SCHEDULER,
        site="store-end",
        contract=LEGAL,
        effect="a store is reported as failed, and the tier drops its blocks; an arrival is a finished store",
        evidence="number of blocks dropped, first key",
        consequence="the blocks are not found again: external hits stay behind queries",
        heals="at once: the next store succeeds",
        parameters={"dry_run": DRY_RUN},
    ),
    FaultKind(
        name="store_refused",
        role=SCHEDULER,
        site="store",
        contract=LEGAL,
        effect="the tier takes no block of a store; an arrival is a store that brings a new block",
        evidence="number of blocks refused, first key",
        consequence='the server logs "cannot store"',
        heals="at once: the next store is taken",
        parameters={"dry_run": DRY_RUN},
    ),
    FaultKind(
        name="manager_raises",
        role=SCHEDULER,
        site="manager-call",
        contract=HOSTILE,
        effect="a call to the tier's manager raises an exception; an arrival is a call of the hook",
        evidence="hook",
        consequence=ENGINE_DIES,
        heals=NEVER,
        parameters={
            "hook": Parameter("prepare_store", choices=HOOKS, about="which call"),
            "dry_run": DRY_RUN,
        },
        declared=(DIES,),
    ),
)
