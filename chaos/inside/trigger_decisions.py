"""When a fault fires: pure functions of seed, fault, injection point and invocation number.

No random stream is shared, so concurrency cannot reorder decisions, and removing one fault does
not change another's. The conductor uses the same functions to predict the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from history.protocol.schedule import Trigger


def fires(trigger: Trigger, seed: int, fault: str, site: str, n: int, key: str = "") -> bool:
    """Whether the fault fires at invocation `n` (from 0), of block `key` if keyed; ignores the limit."""
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
    """A number in [0, 2**64) that belongs to one invocation; `purpose` separates several uses."""
    return _number(f"{seed}/{fault}/{site}/{n}/{purpose}")


def draw_key(seed: int, fault: str, site: str, key: str) -> int:
    """A number in [0, 2**64) that belongs to one block at one site."""
    return _number(f"{seed}/{fault}/{site}/key/{key}")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def expected_firings(trigger: Trigger, seed: int, fault: str, site: str, arrivals: int) -> Iterator[int]:
    """The invocations, of the first `arrivals`, at which it fires. Raises ValueError for a choice by key."""
    if trigger.key_share is not None:
        raise ValueError("the server determines which keys are looked up")
    fired = 0
    for n in range(arrivals):
        if trigger.spent(fired):
            return
        if fires(trigger, seed, fault, site, n):
            fired += 1
            yield n
