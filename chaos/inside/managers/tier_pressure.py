"""Evictions by pressure: made-up blocks are stored and dropped again, by the manager's public methods alone.

The manager itself chooses what has to go, as under real load, and whatever is in use stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

Store = Callable[[list[Any]], list[Any] | None]
"""Prepares a store of these blocks; the blocks evicted for it, or None when there is no room."""
Drop = Callable[[list[Any]], None]
"""Ends a prepared store as failed: its blocks are free again."""

MOST_BLOCKS = 1 << 20
"""More blocks than any tier here has."""
GENTLENESS = 8
"""One step takes at most this fraction more than the one before, or what is wanted."""


class _Taken(NamedTuple):
    """Room that was taken."""

    keys: list[Any]
    evicted: list[Any]


class Pressure:
    """Takes room in a tier, and gives it back."""

    def __init__(self, store: Store, drop: Drop, make_key: Callable[[bytes], Any]) -> None:
        self._store = store
        self._drop = drop
        self._make_key = make_key
        self._made = 0
        self._occupied: list[Any] = []

    @property
    def occupied(self) -> int:
        """Blocks that are occupied now."""
        return len(self._occupied)

    def evict(self, wanted: int) -> list[Any]:
        """Evict about so many idle blocks, all of them if there are fewer; their keys."""
        return self._squeeze(wanted)[0]

    def evict_all(self) -> list[Any]:
        """Evict all idle blocks; their keys."""
        return self.evict(MOST_BLOCKS)

    def occupy(self, leave: int) -> int:
        """Evict all that is idle and occupy the room but for so many blocks; the blocks occupied."""
        _, room = self._squeeze(MOST_BLOCKS)
        if room > leave and (taken := self._take(room - leave)) is not None:
            self._occupied += taken.keys
        return self.occupied

    def release(self) -> None:
        """Free what is occupied."""
        if self._occupied:
            self._drop(self._occupied)
            self._occupied = []

    def _squeeze(self, wanted: int) -> tuple[list[Any], int]:
        """Take and free ever more room; what was evicted, and the most that could be taken at once."""
        evicted: list[Any] = []
        low, high, size = 0, MOST_BLOCKS, 1
        while len(evicted) < wanted and high - low > 1:
            taken = self._take(size)
            if taken is None:
                high = size
            else:
                self._drop(taken.keys)
                evicted += taken.evicted
                low = size
            if high == MOST_BLOCKS:
                # Small steps evict no more than asked for, larger ones keep a large empty tier cheap.
                size = min(2 * low, low + max(wanted, low // GENTLENESS))
            else:
                size = (low + high) // 2
        return evicted, low

    def _take(self, count: int) -> _Taken | None:
        """Occupy so many blocks; None when there is no room for them."""
        keys = [self._key() for _ in range(count)]
        evicted = self._store(keys)
        return None if evicted is None else _Taken(keys, evicted)

    def _key(self) -> Any:
        self._made += 1
        return self._make_key(hashlib.sha256(f"kvchaos/{self._made}".encode()).digest())
