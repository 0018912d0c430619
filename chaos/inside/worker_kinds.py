"""The kinds of fault in the worker: its copies, the reports of their ends, and the content of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chaos.inside.fault_kind import (
    CONFORMING,
    CONTRACT_VIOLATING,
    DAMAGED,
    DIES,
    DIRECTION,
    DRY_RUN,
    FLIPPED,
    LOST_LOAD,
    NEVER,
    NOT_A_NUMBER,
    WORKER,
    Effect,
    FaultKind,
    Parameter,
)

DELAY = {
    "min_ms": Parameter(20, 0, 60_000, about="shortest delay"),
    "max_ms": Parameter(200, 0, 60_000, about="longest delay"),
}
SCHEDULER_DIES = "the engine asserts and dies (vllm#39732)"


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


COPY_KINDS = (
    FaultKind(
        name="copy_delay",
        role=WORKER,
        site="copy",
        contract=CONFORMING,
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
        contract=CONTRACT_VIOLATING,
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
        contract=CONTRACT_VIOLATING,
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
        contract=CONFORMING,
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
        contract=CONFORMING,
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
        CONTRACT_VIOLATING,
        "a finished copy is reported as failed",
        SCHEDULER_DIES,
        NEVER,
        declared=(DIES,),
    ),
    _result(
        "completion_late",
        CONFORMING,
        "the end of a copy is reported later",
        "a load: its request gets no token meanwhile; a store: it stays open in the books of the scheduler",
        "when the last late end was reported",
        more=DELAY,
    ),
    _result(
        "completion_lost",
        CONTRACT_VIOLATING,
        "the end of a copy is never reported",
        "a load: the request never ends; a store: its block is never read",
        "never: what waits for the copy waits for ever",
        declared=LOST_LOAD,
        undeclared="a store: what its open end holds, and whom that stalls, differs by release and load",
    ),
    _result(
        "completion_twice",
        CONTRACT_VIOLATING,
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
        contract=CONFORMING,
        effect="the ends of several copies are reported in reverse; an arrival is a step with more than one",
        evidence="jobs, directions and requests in the order of the report",
        consequence="loads: their requests go on; stores: nothing that can be seen, the order means nothing",
        heals="at once",
        parameters={"dry_run": DRY_RUN},
        of_request=False,
    ),
)


NUMBER_SIZE = Parameter(4, 1, 8, about="bytes of a number")
PLANE = Parameter(-1, -1, 100_000, about="plane, counted from 0 over the layers; -1: chosen by the seed")

WRONG_ANSWERS = "logprobs of every request that reads the block differ from golden"
CACHE_RESET = "when the device's prefix cache is reset; damage to the tier, when the block leaves the tier"


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
        contract=CONTRACT_VIOLATING,
        effect=f"{effect}; an arrival is a finished copy of the direction",
        evidence=f"{evidence}, bytes that changed",
        consequence=WRONG_ANSWERS,
        heals=CACHE_RESET,
        parameters={"direction": DIRECTION, **more, "dry_run": DRY_RUN},
        declared=declared,
        undeclared=undeclared,
    )


CONTENT_KINDS = (
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
        declared=(NOT_A_NUMBER,),
        plane=PLANE,
        word_bytes=NUMBER_SIZE,
    ),
    _content("swap_blocks", "two blocks of the copy change places", "both blocks"),
    _content("stale_block", "one block holds content of an earlier copy", "block"),
    _content("truncate_block", "the second half of one block is zero", "block"),
    _content("shift_blocks", "each block of the copy holds the content of the next", "blocks"),
)
