"""What a machine has for KV blocks and for the offload tier, bytes, with the arithmetic. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvchaos.doctor.gpu import Card
from kvchaos.errors import UsageError
from kvchaos.planning.scale.scales import GIB, MIB, ScaleLimits
from kvchaos.servers.model_size import ModelSize

RESERVE_BYTES = 5 * GIB // 2
"""Of each card, for activations, CUDA graphs and the driver."""


@dataclass(frozen=True, slots=True)
class HostMachine:
    """What is there."""

    cards: Sequence[Card]
    """None: the server computes on the processor."""
    host_bytes: int
    memory_share: float
    """Share of a card's memory that vLLM may use."""
    tier_limit: int
    """The most bytes of the offload tier."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Room for KV blocks and the tier, of all cards together."""

    device_bytes: int | None
    """None: bounded by the scale only."""
    tier_bytes: int
    tensor_parallel: int
    arithmetic: tuple[str, ...]


def capacity(machine: HostMachine, model: ModelSize, scale: ScaleLimits) -> Capacity:
    """Raises UsageError with one line when the model does not fit."""
    tier = min(machine.tier_limit, scale.most_tier_bytes or machine.tier_limit)
    tier_line = f"tier: at most {_gib(tier)} of {_gib(machine.host_bytes)} of host memory"
    if not scale.on_gpu:
        return Capacity(None, tier, 1, (tier_line,))
    if not machine.cards:
        raise UsageError(f"scale {scale.name} needs a GPU, and nvidia-smi lists none; use --scale small")
    cards = len(machine.cards) if scale.several_cards else 1
    cards = _divisor(cards, model.kv_heads)
    memory = min(card.memory_mib for card in machine.cards) * MIB
    usable = round(memory * machine.memory_share)
    left = usable - model.weight_bytes // cards - RESERVE_BYTES
    each = f"{cards} x " if cards > 1 else ""
    weights = model.weight_bytes // cards
    line = (
        f"device: {each}({_gib(memory)} x {machine.memory_share:g} - {_gib(weights)} weights - "
        f"{_gib(RESERVE_BYTES)} reserve) = {_gib(cards * left)} for KV blocks"
    )
    if left <= 0:
        raise UsageError(
            f"scale {scale.name}: the model does not fit: {line}; use a smaller model"
            + ("" if scale.several_cards else ", or --scale node with several cards")
        )
    return Capacity(cards * left, tier, cards, (line, tier_line))


def _divisor(cards: int, kv_heads: int) -> int:
    """The most cards that share the KV heads evenly."""
    return max(count for count in range(1, cards + 1) if kv_heads % count == 0)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
