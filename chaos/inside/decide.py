"""When a fault strikes: pure functions of seed, fault, site and arrival number.

No random stream is shared, so concurrency cannot reorder decisions, and removing one fault does
not change another's. The conductor uses the same functions to foretell what a journal must hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from history.protocol.schedule import Trigger


def strikes(trigger: Trigger, seed: int, fault: str, site: str, n: int, key: str = "") -> bool:
    """Whether arrival `n` (from 0), of block `key` where the site has keys, is struck, limit aside."""
    if trigger.key_share is not None:
        return draw_key(seed, fault, site, key) < trigger.key_share * 2**64
    if trigger.probability is not None:
        return draw(seed, fault, site, n) < trigger.probability * 2**64
    if trigger.nth is not None:
        return n in trigger.nth
    if trigger.every is not None:
        return n >= trigger.offset and (n - trigger.offset) % trigger.every == 0
    return False


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
        if strikes(trigger, seed, fault, site, n):
            fired += 1
            yield n
