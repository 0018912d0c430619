"""What one start of the compared servers or engines gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.idle_cost.block_figures import Block

WARM_UP = 2
"""Blocks of each server that are not counted."""


class Pair(NamedTuple):
    """A block of a plain server, and the same prompts on the one that is compared with it."""

    plain: Block
    other: Block


class IdleTime(NamedTuple):
    """Processor time of servers without a request, ms a second."""

    plain: float
    control: float
    module: float


@dataclass(frozen=True, slots=True)
class Life:
    """What the same servers gave from their start to their end."""

    costs: Sequence[Pair]
    """With the chaos module in the other server."""
    controls: Sequence[Pair]
    """With a plain server as the other."""
    idle: IdleTime
