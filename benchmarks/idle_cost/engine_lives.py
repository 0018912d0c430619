"""Lives of engines of one process group: two at a time, whose steps alternate."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import fields
from statistics import fmean
from typing import Literal, NamedTuple

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.measured_engines import MeasuredEngines
from benchmarks.idle_cost.measured_life import WARM_UP, IdleTime, Life, Pair
from benchmarks.idle_cost.module_states import ModuleState

Name = Literal["plain", "control", "module"]
CALM_S = 1.0
"""What comes after the last request is not idleness."""
IDLE_S = 3.0
BUILD_ORDERS: tuple[tuple[Name, Name], ...] = (
    ("plain", "module"),
    ("control", "plain"),
    ("module", "plain"),
    ("plain", "control"),
)
"""The first of two engines is slower by its memory, so each engine is the first once: A B B A."""


class _Start(NamedTuple):
    """What two engines gave, by name."""

    blocks: dict[Name, Block]
    idle_ms: dict[Name, float]


def measure_engines(engines: MeasuredEngines, state: ModuleState, life: int, rounds: int) -> Life:
    """Build, measure and end each pair of engines of one life. Raises UsageError."""
    lots = random.Random(life)
    starts = [_measure_start(engines, state, order, lots, rounds) for order in BUILD_ORDERS]
    return Life(costs=_pairs(starts, "module"), controls=_pairs(starts, "control"), idle=_idle(starts))


def _measure_start(
    engines: MeasuredEngines, state: ModuleState, order: Sequence[Name], lots: random.Random, rounds: int
) -> _Start:
    for name in order:
        engines.build(name, state if name == "module" else "absent", lots.getrandbits(32))
    for _ in range(WARM_UP):
        engines.block()
    if state == "armed" and "module" in order:
        engines.arm("module")
    measured = [engines.block(first=number % len(order)) for number in range(rounds)]
    time.sleep(CALM_S)
    idle = engines.idle(IDLE_S)
    engines.end_engines()
    return _Start(
        {name: _mean([blocks[name] for blocks in measured]) for name in order},
        {name: idle[name] for name in order},
    )


def _mean(blocks: Sequence[Block]) -> Block:
    return Block(*(fmean(getattr(block, field.name) for block in blocks) for field in fields(Block)))


def _pairs(starts: Sequence[_Start], other: Name) -> list[Pair]:
    return [Pair(each.blocks["plain"], each.blocks[other]) for each in starts if other in each.blocks]


def _idle(starts: Sequence[_Start]) -> IdleTime:
    return IdleTime(
        *(fmean(each.idle_ms[name] for each in starts if name in each.idle_ms) for name in IdleTime._fields)
    )
