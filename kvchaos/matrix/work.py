"""Which cells there are, which of them a shard has, and what is to be done for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from kvchaos.errors import UsageError
from kvchaos.matrix.cell import Cell
from kvchaos.matrix.digests import Digests

SHARD = re.compile(r"(\d{1,4})/(\d{1,4})")
Item = TypeVar("Item")


class Work(Enum):
    """What a cell needs."""

    RUN = auto()
    JUDGE = auto()
    """The stored run is judged again."""
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of the matrix."""

    number: int
    """From 1."""
    of: int


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """`2/5` is the second of five parts. Raises UsageError."""
    found = SHARD.fullmatch(text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise UsageError(f"--shard {text}: give NUMBER/OF with a number from 1 to OF, such as 2/5")
    return shard


def part_of(items: Sequence[Item], shard: Shard) -> Sequence[Item]:
    """The shard's part: consecutive items, so that few releases are needed by two shards. The parts of all
    shards are disjoint and together they are everything."""
    begin, end = (len(items) * number // shard.of for number in (shard.number - 1, shard.number))
    return items[begin:end]


def work_for(cell: Cell | None, now: Digests, *, has_run: bool, retry: bool) -> Work:
    """What a cell needs. `now`: its digests today; `has_run`: its run directory exists;
    `retry`: unknown is not good enough."""
    if cell is None or cell.outcome is None or cell.made != now.made:
        return Work.RUN
    if cell.judged != now.judged:
        return Work.JUDGE if has_run else Work.RUN
    return Work.RUN if retry and cell.outcome == "unknown" else Work.NOTHING
