"""The scales: how long the contexts may get, how many streams, and which share of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from history.scaling import ScaleName
from kvchaos.doctor.gpu import Card

GIB = 1 << 30
MIB = 1 << 20
LARGE_CARD_MIB = 78 * 1024
"""Cards that are sold as 80 GB report a little less."""
FEW_STREAMS = 4
"""A scenario with so few requests in flight needs its order: only its lengths scale."""


@dataclass(frozen=True, slots=True)
class ScaleLimits:
    """Bounds of one scale."""

    name: ScaleName
    least_context: int
    """Tokens; a scenario whose contexts would stay shorter does not fit there."""
    most_context: int
    most_streams: int
    wanted_streams: int
    """Contexts are shortened, down to the least, until so many streams fit."""
    most_answer_tokens: int
    """Of all requests of a run: they take most of its time."""
    most_blocks: int | None = None
    most_tier_bytes: int | None = None
    on_gpu: bool = True
    several_cards: bool = False


SMALL = ScaleLimits(
    "small",
    least_context=1_500,
    most_context=2_000,
    most_streams=200,
    wanted_streams=200,
    most_answer_tokens=200_000,
    most_blocks=2_000,
    most_tier_bytes=256 * MIB,
    on_gpu=False,
)
WORKSTATION = ScaleLimits(
    "workstation",
    least_context=1_500,
    most_context=8_192,
    most_streams=256,
    wanted_streams=64,
    most_answer_tokens=400_000,
)
ACCELERATOR = ScaleLimits(
    "accelerator",
    least_context=8_192,
    most_context=32_768,
    most_streams=512,
    wanted_streams=200,
    most_answer_tokens=1_000_000,
)
NODE = ScaleLimits(
    "node",
    least_context=8_192,
    most_context=32_768,
    most_streams=1_024,
    wanted_streams=400,
    most_answer_tokens=1_500_000,
    several_cards=True,
)
SCALES: dict[ScaleName, ScaleLimits] = {
    scale.name: scale for scale in (SMALL, WORKSTATION, ACCELERATOR, NODE)
}
"""Without `tiny`, which changes nothing."""


def default_scale(cards: Sequence[Card]) -> ScaleName:
    """The scale for these cards; `tiny` without one. Several cards are one `node` on request only."""
    if not cards:
        return "tiny"
    return "accelerator" if max(card.memory_mib for card in cards) >= LARGE_CARD_MIB else "workstation"
