"""Corruption of the content of blocks, with proof of what changed.

Each function gets the planes and the blocks that one finished copy wrote, on the device or in the tier.
It draws its choices from the injection, changes bytes in place, and returns how many changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from chaos.hostcopy.tier import Plane
from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import ContentDamaged

Corruption = Callable[[Injection, Sequence[Plane], Sequence[int]], ContentDamaged | None]
"""Corrupts a copy and returns the evidence; None when this copy has nothing to corrupt."""


def flip_bit(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Flip `count` bits, each in another number of one block and plane."""
    block, plane = _pick(injection, planes, blocks)
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


def zero_block(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Zero one block in all planes."""
    block = _block(injection, blocks)
    return _overwrite(planes, block, lambda old: torch.zeros_like(old))


def add_noise(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Change the lower half of every number of one block: the numbers stay finite, and near."""
    block = _block(injection, blocks)
    source = torch.Generator().manual_seed(injection.draw("noise") % 2**63)
    number_bytes = int(injection.params["word_bytes"])

    def noisy(old: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(old.numel(), dtype=torch.uint8)
        for byte in range(max(1, number_bytes // 2)):
            lower = mask[byte::number_bytes]
            lower[:] = torch.randint(0, 256, (lower.numel(),), dtype=torch.uint8, generator=source)
        return old ^ mask.to(old.device)

    return _overwrite(planes, block, noisy)


def plant_nan(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Make one number of one block a NaN: all bits of its two highest bytes but the sign, which is +."""
    block, plane = _pick(injection, planes, blocks)
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


def swap_blocks(
    injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]
) -> ContentDamaged | None:
    """Exchange the contents of two blocks of the copy."""
    if len(blocks) < 2:
        return None
    one = injection.draw("block") % len(blocks)
    other = (one + 1 + injection.draw("other") % (len(blocks) - 1)) % len(blocks)
    changed = 0
    for plane in planes:
        left, right = plane.bytes_of(blocks[one]), plane.bytes_of(blocks[other])
        kept = left.clone()
        changed += 2 * int((left != right).sum())
        left.copy_(right)
        right.copy_(kept)
    return ContentDamaged(block=blocks[one], other=blocks[other], bytes_changed=changed)


def truncate_block(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Zero the second half of one block in all planes, as a copy that ended early would leave it."""
    block = _block(injection, blocks)

    def halved(old: torch.Tensor) -> torch.Tensor:
        new = old.clone()
        new[old.numel() // 2 :] = 0
        return new

    return _overwrite(planes, block, halved)


def shift_blocks(
    injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]
) -> ContentDamaged | None:
    """Give every block of the copy the content of the next one; the last keeps its own."""
    if len(blocks) < 2:
        return None
    changed = 0
    for plane in planes:
        for here, after in pairwise(blocks):
            old, new = plane.bytes_of(here), plane.bytes_of(after)
            changed += int((old != new).sum())
            old.copy_(new)
    return ContentDamaged(blocks=list(blocks), bytes_changed=changed)


class Staleness:
    """Remembers the last content that passed, and plants it in a later block."""

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] | None = None

    def plant(
        self, injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]
    ) -> ContentDamaged | None:
        """Replace one block by content of an earlier copy; None when there was none yet."""
        kept = self._kept
        if kept is None:
            return None
        block = _block(injection, blocks)
        contents = iter(kept)
        return _overwrite(planes, block, lambda old: next(contents))

    def remember(self, planes: Sequence[Plane], blocks: Sequence[int]) -> None:
        self._kept = [plane.bytes_of(blocks[0]).clone() for plane in planes]


CORRUPTIONS: dict[str, Corruption] = {
    "bit_flip": flip_bit,
    "zero_block": zero_block,
    "noise": add_noise,
    "nan": plant_nan,
    "swap_blocks": swap_blocks,
    "truncate_block": truncate_block,
    "shift_blocks": shift_blocks,
}
"""By kind of fault; `stale_block` needs a memory and is apart."""


def _pick(injection: Injection, planes: Sequence[Plane], blocks: Sequence[int]) -> tuple[int, Plane]:
    """The block and plane to corrupt: the requested plane, or one that the injection draws."""
    wanted = int(injection.params["plane"])
    index = wanted if wanted >= 0 else injection.draw("plane")
    return _block(injection, blocks), planes[index % len(planes)]


def _block(injection: Injection, blocks: Sequence[int]) -> int:
    return blocks[injection.draw("block") % len(blocks)]


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
