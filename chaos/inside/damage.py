"""Damage to the content of a block, with proof of what changed."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.hostcopy.blocks import Plane
from chaos.inside.engine import Strike


def flip_bit(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> None:
    """Flip one bit of one number, in a block and plane that the strike's draw picks."""
    block = blocks[strike.draw("block") % len(blocks)]
    plane = planes[strike.draw("plane") % len(planes)]
    content = plane.bytes_of(block)
    word, bit = int(strike.params["word_bytes"]), int(strike.params["bit"])
    number = strike.draw("number") % (content.numel() // word)
    # Little endian: bit 0 is the lowest bit of the first byte.
    offset = number * word + bit // 8
    before = int(content[offset])
    content[offset] = before ^ (1 << (bit % 8))
    after = int(content[offset])
    strike.fired(
        {
            "block": block,
            "plane": plane.label,
            "offset": offset,
            "before": before,
            "after": after,
            "bytes_changed": int(before != after),
        }
    )


def zero_block(strike: Strike, planes: Sequence[Plane], blocks: Sequence[int]) -> None:
    """Zero one block in all planes."""
    block = blocks[strike.draw("block") % len(blocks)]
    changed = 0
    for plane in planes:
        content = plane.bytes_of(block)
        changed += int(content.count_nonzero())
        content.zero_()
    strike.fired({"block": block, "bytes_changed": changed})
