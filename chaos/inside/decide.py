"""When a fault strikes: pure functions of seed, fault, site and arrival number.

No random stream is shared, so concurrency cannot reorder decisions, and removing one fault does
not change another's. The conductor uses the same functions to foretell what a journal must hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Trigger:
    """Which arrivals at the site are struck: exactly one of the first three or `key_share` is set."""

    probability: float | None = None
    nth: tuple[int, ...] | None = None
    every: int | None = None
    offset: int = 0
    key_share: float | None = None
    limit: int | None = None
    states: tuple[str, ...] | None = None
    """Arrivals of requests in none of these states are not even counted."""

    def counts(self, states: Collection[str]) -> bool:
        """Whether an arrival of a request in these states is one of the fault's."""
        return self.states is None or any(state in self.states for state in states)

    def strikes(self, seed: int, fault: str, site: str, n: int, key: str = "") -> bool:
        """Whether arrival `n` (from 0), of block `key` where the site has keys, is struck, limit aside."""
        if self.key_share is not None:
            return draw_key(seed, fault, site, key) < self.key_share * 2**64
        if self.probability is not None:
            return draw(seed, fault, site, n) < self.probability * 2**64
        if self.nth is not None:
            return n in self.nth
        if self.every is not None:
            return n >= self.offset and (n - self.offset) % self.every == 0
        return False

    def spent(self, fired: int) -> bool:
        """Whether the fault has ended after so many firings."""
        return self.limit is not None and fired >= self.limit


def draw(seed: int, fault: str, site: str, n: int, purpose: str = "") -> int:
    """A number in [0, 2**64) that belongs to one arrival; `purpose` tells several uses apart."""
    return _number(f"{seed}/{fault}/{site}/{n}/{purpose}")


def draw_key(seed: int, fault: str, site: str, key: str) -> int:
    """A number in [0, 2**64) that belongs to one block at one site."""
    return _number(f"{seed}/{fault}/{site}/key/{key}")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def foretell(trigger: Trigger, seed: int, fault: str, site: str, arrivals: int) -> Iterator[int]:
    """The arrivals, of the first `arrivals`, that are struck. Raises ValueError for a choice by key."""
    if trigger.key_share is not None:
        raise ValueError("which keys arrive is for the server to say")
    fired = 0
    for n in range(arrivals):
        if trigger.spent(fired):
            return
        if trigger.strikes(seed, fault, site, n):
            fired += 1
            yield n
