"""Content of blocks that a finished copy wrote, on the device or in the tier, with proof of what changed.

Each fault gets the planes and blocks of one copy, draws its choices from the injection, and changes bytes in
place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from chaos.inside.fault_kind import (
    CONTRACT_VIOLATING,
    DIRECTION,
    DRY_RUN,
    WORKER,
    Effect,
    FaultKind,
    Parameter,
    ProofCase,
)
from chaos.inside.injection_points import CONTENT, CopiedBlocks
from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import ContentDamaged
from history.protocol.schedule import Value

if TYPE_CHECKING:
    import torch

    from chaos.hostcopy.tier import Plane
    from history.fired_fault import Doubt, FiredFault
    from history.records import RequestRecord

Corruption = Callable[[Injection, CopiedBlocks], ContentDamaged | None]
"""Corrupts a copy and returns the evidence; None when this copy has nothing to corrupt."""


def flip_bit(injection: Injection, copied: CopiedBlocks) -> ContentDamaged:
    """Flip `count` bits, each in another number of one block and plane."""
    block, plane = _pick(injection, copied)
    content = plane.bytes_of(block)
    number_bytes, bit = int(injection.params["word_bytes"]), int(injection.params["bit"])
    numbers = content.numel() // number_bytes
    count = min(int(injection.params["count"]), numbers)
    first = injection.draw("number") % numbers
    # Little endian: bit 0 is the lowest bit of the first byte.
    offsets = [(first + step) % numbers * number_bytes + bit // 8 for step in range(count)]
    before = int(content[offsets[0]])
    content[offsets] ^= 1 << (bit % 8)
    return ContentDamaged(
        block=block,
        plane=plane.label,
        offset=offsets[0],
        before=before,
        after=int(content[offsets[0]]),
        bytes_changed=count,
    )


def zero_block(injection: Injection, copied: CopiedBlocks) -> ContentDamaged:
    """Zero one block in all planes."""
    block = _block(injection, copied)
    return _overwrite(copied.planes, block, lambda old: old * 0)


def add_noise(injection: Injection, copied: CopiedBlocks) -> ContentDamaged:
    """Change the lower half of every number of one block: the numbers stay finite, and near."""
    import torch

    block = _block(injection, copied)
    source = torch.Generator().manual_seed(injection.draw("noise") % 2**63)
    number_bytes = int(injection.params["word_bytes"])

    def noisy(old: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(old.numel(), dtype=torch.uint8)
        for byte in range(max(1, number_bytes // 2)):
            lower = mask[byte::number_bytes]
            lower[:] = torch.randint(0, 256, (lower.numel(),), dtype=torch.uint8, generator=source)
        return old ^ mask.to(old.device)

    return _overwrite(copied.planes, block, noisy)


def plant_nan(injection: Injection, copied: CopiedBlocks) -> ContentDamaged:
    """Make one number of one block a NaN: all bits of its two highest bytes but the sign, which is +."""
    block, plane = _pick(injection, copied)
    content = plane.bytes_of(block)
    number_bytes = int(injection.params["word_bytes"])
    number = injection.draw("number") % (content.numel() // number_bytes)
    end = (number + 1) * number_bytes
    highest = content[end - min(number_bytes, 2) : end]
    old = highest.clone()
    highest[:] = 0xFF
    highest[-1] = 0x7F
    changed = int((highest != old).sum())
    return ContentDamaged(block=block, plane=plane.label, offset=number * number_bytes, bytes_changed=changed)


def swap_blocks(injection: Injection, copied: CopiedBlocks) -> ContentDamaged | None:
    """Exchange the contents of two blocks of the copy."""
    if len(copied.blocks) < 2:
        return None
    one = injection.draw("block") % len(copied.blocks)
    other = (one + 1 + injection.draw("other") % (len(copied.blocks) - 1)) % len(copied.blocks)
    changed = 0
    for plane in copied.planes:
        left, right = plane.bytes_of(copied.blocks[one]), plane.bytes_of(copied.blocks[other])
        kept = left.clone()
        changed += 2 * int((left != right).sum())
        left.copy_(right)
        right.copy_(kept)
    return ContentDamaged(block=copied.blocks[one], other=copied.blocks[other], bytes_changed=changed)


def truncate_block(injection: Injection, copied: CopiedBlocks) -> ContentDamaged:
    """Zero the second half of one block in all planes, as a copy that ended early would leave it."""
    block = _block(injection, copied)

    def halved(old: torch.Tensor) -> torch.Tensor:
        new = old.clone()
        new[old.numel() // 2 :] = 0
        return new

    return _overwrite(copied.planes, block, halved)


def shift_blocks(injection: Injection, copied: CopiedBlocks) -> ContentDamaged | None:
    """Give every block of the copy the content of the next one; the last keeps its own."""
    if len(copied.blocks) < 2:
        return None
    changed = 0
    for plane in copied.planes:
        for here, after in pairwise(copied.blocks):
            old, new = plane.bytes_of(here), plane.bytes_of(after)
            changed += int((old != new).sum())
            old.copy_(new)
    return ContentDamaged(blocks=list(copied.blocks), bytes_changed=changed)


def plant_stale(injection: Injection, copied: CopiedBlocks) -> ContentDamaged | None:
    """Replace one block by content of an earlier copy; None when there was none yet."""
    kept = copied.memory.get("stale")
    if kept is None:
        return None
    contents = iter(kept)
    return _overwrite(copied.planes, _block(injection, copied), lambda old: next(contents))


def remember(copied: CopiedBlocks) -> None:
    """Keep the content of the first block for a later copy."""
    copied.memory["stale"] = [plane.bytes_of(copied.blocks[0]).clone() for plane in copied.planes]


def _pick(injection: Injection, copied: CopiedBlocks) -> tuple[int, Plane]:
    """The block and plane to corrupt: the requested plane, or one that the injection draws."""
    wanted = int(injection.params["plane"])
    index = wanted if wanted >= 0 else injection.draw("plane")
    return _block(injection, copied), copied.planes[index % len(copied.planes)]


def _block(injection: Injection, copied: CopiedBlocks) -> int:
    return copied.blocks[injection.draw("block") % len(copied.blocks)]


def _overwrite(
    planes: Sequence[Plane], block: int, change: Callable[[torch.Tensor], torch.Tensor]
) -> ContentDamaged:
    """Replace the content of a block in each plane, counting the bytes that really changed."""
    changed = 0
    for plane in planes:
        content = plane.bytes_of(block)
        new = change(content)
        changed += int((content != new).sum())
        content.copy_(new)
    return ContentDamaged(block=block, bytes_changed=changed)


NOT_A_NUMBER = re.compile(r"Out of range float values|got `null` - at `\$\.choices\[0\]\.logprobs")
"""Matches the error of a request with a logprob that damage made infinite or NaN.

It is an error of the server, or of the client, which receives null in a stream.
"""


def is_not_a_number(record: RequestRecord) -> bool:
    """Whether a request failed because a logprob of its answer is no number."""
    return record.error is not None and NOT_A_NUMBER.search(record.error.message) is not None


def _answers_differ(case: FiredFault) -> Doubt | None:
    """An answer of the phase, or of a later one that read the damaged block, is not the golden one."""
    start = min((phase.start_ns for phase in case.phases), default=0)
    broken = [record for record in case.history.requests if is_not_a_number(record)]
    affected = case.readers()
    for record in (*case.different_answers(), *broken):
        if record.start_ns >= start and (affected is None or record.id in affected):
            return None
    if affected is not None and not affected:
        return case.doubt("damage-not-read", "no request read the damage, by the provenance log")
    return case.doubt("no-damage-shown", "no answer shows the damage")


DAMAGED = Effect(rules=("answers/not-golden", "answers/not-repeated"), scope="readers", most=1)
"""Some answer of those that read the block differs: from the golden one, else from another of its prompt."""

FOREIGN = Effect(rules=("answers/foreign", *DAMAGED.rules), scope="readers", most=1)
"""The same, or the answer begins with the marker of the context that the content is from."""

FAILED_OR_DAMAGED = Effect(
    rules=("outcomes/truncated-stream", "outcomes/request-failed", *DAMAGED.rules), scope="readers", most=1
)
"""Some request of those that read the block fails, since a logprob is not a number, or its answer differs."""

FLIPPED = tuple(
    Effect(
        rules=DAMAGED.rules,
        scope=DAMAGED.scope,
        most=DAMAGED.most,
        when={"word_bytes": (number_bytes,), "bit": tuple(range(mantissa))},
    )
    for number_bytes, mantissa in ((2, 7), (4, 23), (8, 52))
)
"""The same by a bit of the mantissa, of numbers of so many bytes. Those of 2 may be bfloat16."""

RESET = "when its prefix cache is reset"
OUTLIVES_RESET = "when other values overwrite it, which a reset of the prefix cache does not do"
NUMBER_SIZE = Parameter(4, 1, 8, about="bytes of a number")
PLANE = Parameter(
    -1, -1, 100_000, about="number of the KV tensor, from 0 over all layers; -1: chosen by the seed"
)


def _of_content(
    name: str,
    effect: str,
    evidence: str,
    corrupt: Corruption,
    *,
    declared: tuple[Effect, ...] = (DAMAGED,),
    undeclared: str = "",
    conflict: Callable[[Mapping[str, Value]], str | None] = lambda params: None,
    observe: Callable[[CopiedBlocks], None] | None = None,
    spreads: bool = False,
    outlives_reset: bool = False,
    **more: Parameter,
) -> FaultKind:
    """A kind of damage to what a finished copy wrote."""
    return FaultKind(
        name=name,
        role=WORKER,
        site=CONTENT,
        contract=CONTRACT_VIOLATING,
        effect=f"{effect}; an invocation is a finished copy of the direction",
        evidence=f"{evidence}, bytes that changed",
        consequence="logprobs of every request that reads the block differ from golden",
        heals=f"on the device: {OUTLIVES_RESET if outlives_reset else RESET}; "
        "in the tier: when the block leaves the tier",
        parameters={"direction": DIRECTION, **more, "dry_run": DRY_RUN},
        declared=declared,
        undeclared=undeclared,
        firing=ContentDamaged,
        inject=lambda injection, copied: copied.journal(injection, corrupt(injection, copied)),
        check=_answers_differ,
        proof=ProofCase(trigger={"every": 1, "limit": 8}, spreads=spreads),
        outlives_reset=outlives_reset,
        observe=observe,
        conflict=conflict,
    )


def _bit_outside(params: Mapping[str, Value]) -> str | None:
    outside = int(params["bit"]) >= 8 * int(params["word_bytes"])
    return "bit lies outside a number of word_bytes" if outside else None


FAULTS = (
    _of_content(
        "bit_flip",
        "bits of one block flip",
        "block, plane, byte offset, byte before and after",
        flip_bit,
        declared=FLIPPED,
        undeclared="a bit of exponent or sign: some logprobs are not numbers, and their requests fail",
        conflict=_bit_outside,
        plane=PLANE,
        word_bytes=NUMBER_SIZE,
        bit=Parameter(22, 0, 63, about="bit of a number, 0 is the lowest"),
        count=Parameter(1, 1, 1_000_000, about="numbers that are hit, one after the other"),
    ),
    _of_content("zero_block", "one block is all zero", "block", zero_block),
    _of_content(
        "noise",
        "the lower half of every number of one block changes",
        "block",
        add_noise,
        word_bytes=NUMBER_SIZE,
    ),
    _of_content(
        "nan",
        "one number of one block is not a number",
        "block, plane",
        plant_nan,
        declared=(FAILED_OR_DAMAGED,),
        spreads=True,
        # The CPU backend multiplies the values in unused slots of a block by 0, and NaN stays NaN.
        outlives_reset=True,
        plane=PLANE,
        word_bytes=NUMBER_SIZE,
    ),
    _of_content("swap_blocks", "two blocks of the copy are swapped", "both blocks", swap_blocks),
    _of_content("truncate_block", "the second half of one block is zero", "block", truncate_block),
    _of_content("shift_blocks", "each block of the copy has the content of the next", "blocks", shift_blocks),
    _of_content(
        "stale_block",
        "one block has content of an earlier copy",
        "block",
        plant_stale,
        declared=(FOREIGN,),
        observe=remember,
    ),
)
