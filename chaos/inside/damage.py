"""Damage to the content of blocks, with proof of what changed.

A place is a list of planes and the blocks of one finished copy in them, on the device or in the tier.
Every function takes its choices from the strike, changes bytes in place, and tells how many changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from chaos.hostcopy.blocks import Plane
from chaos.inside.engine import Strike
from history.protocol.evidence import ContentDamaged

Deed = Callable[[Strike, Sequence[Plane], Sequence[int]], ContentDamaged | None]
"""Does the damage and returns its evidence; None when this copy offers nothing to damage."""


def flip_bit(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Flip `count` bits, each in another number of one block and plane."""
    block, plane = _pick(strike, planes, blocks)
    content = plane.bytes_of(block)
    word, bit = int(strike.params["word_bytes"]), int(strike.params["bit"])
    numbers = content.numel() // word
    count = min(int(strike.params["count"]), numbers)
    first = strike.draw("number") % numbers
    # Little endian: bit 0 is the lowest bit of the first byte.
    offsets = [(first + step) % numbers * word + bit // 8 for step in range(count)]
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


def zero_block(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Zero one block in all planes."""
    block = _block(strike, blocks)
    return _overwrite(planes, block, lambda old: torch.zeros_like(old))


def add_noise(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Change the lower half of every number of one block: the numbers stay finite, and near."""
    block = _block(strike, blocks)
    source = torch.Generator().manual_seed(strike.draw("noise") % 2**63)
    word = int(strike.params["word_bytes"])

    def noisy(old: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(old.numel(), dtype=torch.uint8)
        for place in range(max(1, word // 2)):
            lower = mask[place::word]
            lower[:] = torch.randint(0, 256, (lower.numel(),), dtype=torch.uint8, generator=source)
        return old ^ mask.to(old.device)

    return _overwrite(planes, block, noisy)


def plant_nan(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Make one number of one block a NaN: all bits of its two highest bytes but the sign, which is +."""
    block, plane = _pick(strike, planes, blocks)
    content = plane.bytes_of(block)
    word = int(strike.params["word_bytes"])
    number = strike.draw("number") % (content.numel() // word)
    end = (number + 1) * word
    highest = content[end - min(word, 2) : end]
    old = highest.clone()
    highest[:] = 0xFF
    highest[-1] = 0x7F
    changed = int((highest != old).sum())
    return ContentDamaged(block=block, plane=plane.label, offset=number * word, bytes_changed=changed)


def swap_blocks(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged | None:
    """Exchange the contents of two blocks of the copy."""
    if len(blocks) < 2:
        return None
    one = strike.draw("block") % len(blocks)
    other = (one + 1 + strike.draw("other") % (len(blocks) - 1)) % len(blocks)
    changed = 0
    for plane in planes:
        left, right = plane.bytes_of(blocks[one]), plane.bytes_of(blocks[other])
        kept = left.clone()
        changed += 2 * int((left != right).sum())
        left.copy_(right)
        right.copy_(kept)
    return ContentDamaged(block=blocks[one], other=blocks[other], bytes_changed=changed)


def truncate_block(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged:
    """Zero the second half of one block in all planes, as a copy that ended early would leave it."""
    block = _block(strike, blocks)

    def halved(old: torch.Tensor) -> torch.Tensor:
        new = old.clone()
        new[old.numel() // 2 :] = 0
        return new

    return _overwrite(planes, block, halved)


def shift_blocks(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged | None:
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

    def plant(self, strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> ContentDamaged | None:
        """Replace one block by content of an earlier copy; None when there was none yet."""
        kept = self._kept
        if kept is None:
            return None
        block = _block(strike, blocks)
        contents = iter(kept)
        return _overwrite(planes, block, lambda old: next(contents))

    def remember(self, planes: Sequence[Plane], blocks: Sequence[int]) -> None:
        self._kept = [plane.bytes_of(blocks[0]).clone() for plane in planes]


DEEDS: dict[str, Deed] = {
    "bit_flip": flip_bit,
    "zero_block": zero_block,
    "noise": add_noise,
    "nan": plant_nan,
    "swap_blocks": swap_blocks,
    "truncate_block": truncate_block,
    "shift_blocks": shift_blocks,
}
"""By kind of fault; `stale_block` needs a memory and is apart."""


def _pick(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> tuple[int, Plane]:
    """The block and plane to damage: the plane that is asked for, else the strike's choice."""
    wanted = int(strike.params["plane"])
    place = wanted % len(planes) if wanted >= 0 else strike.draw("plane") % len(planes)
    return _block(strike, blocks), planes[place]


def _block(strike: Strike, blocks: Sequence[int]) -> int:
    return blocks[strike.draw("block") % len(blocks)]


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
