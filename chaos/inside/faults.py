"""The table of faults: what each does, where, within the contract or against it, and how it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chaos.inside.effects import DAMAGED, DIES, FLIPPED, LOST_LOAD
from chaos.inside.fault_kind import HOSTILE, LEGAL, SCHEDULER, WORKER, Effect, FaultKind, Parameter
from history.protocol.schedule import Value

MOST_BLOCKS = 1_000_000

DRY_RUN = Parameter(False, about="decide and journal, but change nothing")
DIRECTION = Parameter("load", choices=("load", "store", "both"), about="which copies")
NUMBER_SIZE = Parameter(4, 1, 8, about="bytes of a number")
PLANE = Parameter(-1, -1, 100_000, about="plane, counted from 0 over the layers; -1: chosen by the seed")
DELAY = {
    "min_ms": Parameter(20, 0, 60_000, about="shortest delay"),
    "max_ms": Parameter(200, 0, 60_000, about="longest delay"),
}

HOOKS = ("lookup", "prepare_load", "prepare_store", "complete_load", "complete_store")

WRONG_ANSWERS = "logprobs of every request that reads the block differ from golden"
CACHE_RESET = "when the device's prefix cache is reset; damage to the tier, when the block leaves the tier"
SCHEDULER_DIES = "the engine asserts and dies (vllm#39732)"
ENGINE_DIES = "nobody catches it: the engine dies"
NEVER = "never: the engine is gone"


def _content(
    name: str,
    effect: str,
    evidence: str,
    declared: tuple[Effect, ...] = (DAMAGED,),
    undeclared: str = "",
    **more: Parameter,
) -> FaultKind:
    """A kind of damage to what a finished copy wrote."""
    return FaultKind(
        name=name,
        role=WORKER,
        site="content",
        contract=HOSTILE,
        effect=f"{effect}; an arrival is a finished copy of the direction",
        evidence=f"{evidence}, bytes that changed",
        consequence=WRONG_ANSWERS,
        heals=CACHE_RESET,
        parameters={"direction": DIRECTION, **more, "dry_run": DRY_RUN},
        declared=declared,
        undeclared=undeclared,
    )


def _result(
    name: str,
    contract: str,
    effect: str,
    consequence: str,
    heals: str,
    more: Mapping[str, Parameter] | None = None,
    declared: tuple[Effect, ...] = (),
    undeclared: str = "",
) -> FaultKind:
    """A kind of fault in how the end of a copy is reported."""
    return FaultKind(
        name=name,
        role=WORKER,
        site="copy-result",
        contract=contract,
        effect=f"{effect}; an arrival is a finished copy of the direction",
        evidence="job, direction",
        consequence=consequence,
        heals=heals,
        parameters={"direction": DIRECTION, **(more or {}), "dry_run": DRY_RUN},
        excludes="copy-result",
        declared=declared,
        undeclared=undeclared,
    )


_SCHEDULER_KINDS = (
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

_COPY_KINDS = (
    FaultKind(
        name="copy_delay",
        role=WORKER,
        site="copy",
        contract=LEGAL,
        effect="a copy starts later, and so ends later; an arrival is a copy of the direction",
        evidence="job, direction, milliseconds held",
        consequence="the server's transfer time grows by the delay",
        heals="when the last held copy has ended",
        parameters={
            "direction": Parameter("both", choices=DIRECTION.choices, about=DIRECTION.about),
            **DELAY,
            "dry_run": DRY_RUN,
        },
    ),
    FaultKind(
        name="copy_refused",
        role=WORKER,
        site="copy",
        contract=HOSTILE,
        effect="the worker does not take a copy; an arrival is a copy of the direction",
        evidence="job, direction",
        consequence=SCHEDULER_DIES,
        heals=NEVER,
        parameters={"direction": DIRECTION, "dry_run": DRY_RUN},
        excludes="copy-taken",
        declared=(DIES,),
    ),
    FaultKind(
        name="copy_raises",
        role=WORKER,
        site="copy",
        contract=HOSTILE,
        effect="asking the worker for a copy raises an exception; an arrival is a copy of the direction",
        evidence="job, direction",
        consequence="to 0.24 it counts as a copy that is not taken, later nobody catches it: the engine dies",
        heals=NEVER,
        parameters={"direction": DIRECTION, "dry_run": DRY_RUN},
        excludes="copy-taken",
        declared=(DIES,),
    ),
    FaultKind(
        name="load_failure",
        role=WORKER,
        site="load-result",
        contract=LEGAL,
        effect="blocks of a finished load are reported as failed; an arrival is a finished load",
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
        excludes="load-result",
    ),
    FaultKind(
        name="load_failed",
        role=WORKER,
        site="load-result",
        contract=LEGAL,
        effect="a finished load is reported as failed, whole; an arrival is a finished load",
        evidence="request, number of device blocks",
        consequence="the request asks the tier again, from its first token on, or fails by policy",
        heals="at once: later loads succeed",
        parameters={"dry_run": DRY_RUN},
        since="0.30",
        call="get_transfer_results",
        excludes="load-result",
    ),
    _result(
        "copy_failed",
        HOSTILE,
        "a finished copy is reported as failed",
        SCHEDULER_DIES,
        NEVER,
        declared=(DIES,),
    ),
    _result(
        "completion_late",
        LEGAL,
        "the end of a copy is reported later",
        "a load: its request gets no token meanwhile; a store: it stays open in the books of the scheduler",
        "when the last late end was reported",
        more=DELAY,
    ),
    _result(
        "completion_lost",
        HOSTILE,
        "the end of a copy is never reported",
        "a load: the request never ends; a store: its block is never read",
        "never: what waits for the copy waits for ever",
        declared=LOST_LOAD,
        undeclared="a store: what its open end holds, and whom that stalls, differs by release and load",
    ),
    _result(
        "completion_twice",
        HOSTILE,
        "the end of a copy is reported twice",
        "the engine knows the job no more and dies; reported in one step, 0.32 counts the two as one",
        NEVER,
        declared=(replace(DIES, when={"later": (True,)}),),
        undeclared="reported twice in one step: some releases count the two as one, others die",
        more={"later": Parameter(True, about="the second time in a later step")},
    ),
    FaultKind(
        name="completion_reorder",
        role=WORKER,
        site="copy-results",
        contract=LEGAL,
        effect="the ends of several copies are reported in reverse; an arrival is a step with more than one",
        evidence="jobs, directions and requests in the order of the report",
        consequence="loads: their requests go on; stores: nothing that can be seen, the order means nothing",
        heals="at once",
        parameters={"dry_run": DRY_RUN},
        of_request=False,
    ),
)

_CONTENT_KINDS = (
    _content(
        "bit_flip",
        "bits of one block flip",
        "block, plane, byte offset, byte before and after",
        declared=FLIPPED,
        undeclared="a bit of the exponent or the sign: some answers are no numbers, and their requests fail",
        plane=PLANE,
        word_bytes=NUMBER_SIZE,
        bit=Parameter(22, 0, 63, about="bit of a number, 0 is the lowest"),
        count=Parameter(1, 1, 1_000_000, about="numbers that are hit, one after the other"),
    ),
    _content("zero_block", "one block is all zero", "block"),
    _content("noise", "the lower half of every number of one block changes", "block", word_bytes=NUMBER_SIZE),
    _content(
        "nan",
        "one number of one block is not a number",
        "block, plane",
        declared=(),
        undeclared="it may spread to other blocks, and requests fail as well as differ",
        plane=PLANE,
        word_bytes=NUMBER_SIZE,
    ),
    _content("swap_blocks", "two blocks of the copy change places", "both blocks"),
    _content("stale_block", "one block holds content of an earlier copy", "block"),
    _content("truncate_block", "the second half of one block is zero", "block"),
    _content("shift_blocks", "each block of the copy holds the content of the next", "blocks"),
)

KINDS: dict[str, FaultKind] = {kind.name: kind for kind in (*_SCHEDULER_KINDS, *_COPY_KINDS, *_CONTENT_KINDS)}


def problems(kind: str, params: Mapping[str, Value]) -> list[str]:
    """What is wrong with a fault as it is written; empty when nothing is."""
    known = KINDS.get(kind)
    if known is None:
        return [f"unknown fault {kind}; known are {', '.join(sorted(KINDS))}"]
    found = parameter_problems(kind, known.parameters, params)
    whole = {**defaults(kind), **params}
    if "min_ms" in whole and not found and float(whole["min_ms"]) > float(whole["max_ms"]):
        found.append(f"{kind}: min_ms is above max_ms")
    if kind == "bit_flip" and not found and int(whole["bit"]) >= 8 * int(whole["word_bytes"]):
        found.append("bit_flip: bit lies outside a number of word_bytes")
    return found


def parameter_problems(
    kind: str, parameters: Mapping[str, Parameter], given: Mapping[str, Value]
) -> list[str]:
    """What is wrong with each parameter by itself."""
    found = []
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            found.append(f"{kind} has no parameter {name}; it has {', '.join(parameters)}")
        elif problem := parameter.problem(value):
            found.append(f"{kind}: {name} {problem}")
    return found


def group(kind: str) -> str:
    """Faults of one group cannot live in one phase."""
    return KINDS[kind].excludes or kind


def defaults(kind: str) -> dict[str, Value]:
    """The parameters of a kind with their defaults."""
    return {name: parameter.default for name, parameter in KINDS[kind].parameters.items()}
