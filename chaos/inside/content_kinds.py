"""The kinds of fault that corrupt the content of blocks."""

from __future__ import annotations

from chaos.inside.common_parameters import DIRECTION, DRY_RUN
from chaos.inside.effects import DAMAGED, FLIPPED
from chaos.inside.fault_kind import HOSTILE, WORKER, Effect, FaultKind, Parameter

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
        contract=HOSTILE,
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
