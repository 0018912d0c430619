"""Decides whether a fault fires at an invocation; and the injection that comes of it.

The decisions are pure functions of seed, fault, injection point and invocation number. No random stream is
shared, so concurrency cannot reorder decisions, and removing one fault does not change another's. The
conductor uses the same functions to predict the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from chaos.inside.journal_file import Journal
from history.protocol.evidence import Evidence, Firing, Note, RefusalReason, Refused
from history.protocol.schedule import ArmedFault, Trigger, Value


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


class ArmedInsideFault:
    """An armed fault with its counts."""

    def __init__(self, fault: ArmedFault, seed: int, site: str) -> None:
        self.fault = fault
        self.seed = seed
        self.site = site
        self.arrivals = 0
        self.struck = 0
        self.refused = 0
        """Injections that were not applied; included in `struck`."""

    def arrive(self, key: str) -> int | None:
        """Count an invocation; return its number when the fault fires."""
        n = self.arrivals
        self.arrivals += 1
        trigger, fault = self.fault.trigger, self.fault.id
        if trigger.spent(self.struck):
            return None
        if not fires(trigger, self.seed, fault, self.site, n, key):
            return None
        self.struck += 1
        return n


class Injection:
    """An invocation at which a fault fires. The injection point applies it, then calls `fired` with proof."""

    def __init__(
        self, journal: Journal, armed: ArmedInsideFault, n: int, request: str | None, states: tuple[str, ...]
    ) -> None:
        self._journal = journal
        self._armed = armed
        self._n = n
        self._request = request
        self._states = states
        self._noted: set[type[Note]] = set()

    @property
    def kind(self) -> str:
        """Kind of the fault."""
        return self._armed.fault.kind

    @property
    def params(self) -> dict[str, Value]:
        """Parameters of the fault."""
        return self._armed.fault.params

    def apply(self, inject: Callable[[Injection, Any], None], point: object) -> None:
        """Have the fault change the injection point."""
        inject(self, point)

    def draw(self, purpose: str) -> int:
        """A number in [0, 2**64) that depends on this injection and purpose alone."""
        armed = self._armed
        return draw(armed.seed, armed.fault.id, armed.site, self._n, purpose)

    def fired(self, proof: Firing, request: str | None = None) -> None:
        """Record that the fault was applied, with evidence."""
        self._write(proof, request)

    def refused(self, reason: RefusalReason) -> None:
        """Record why the fault was not applied."""
        self._write(Refused(reason=reason))

    def note(self, note: Note) -> None:
        """Record what the server did later as a consequence; the first note of each type."""
        if type(note) not in self._noted:
            self._noted.add(type(note))
            self._write(note)

    def _write(self, evidence: Evidence | Note, request: str | None = None) -> None:
        self._armed.refused += isinstance(evidence, Refused)
        self._journal.write(
            evidence,
            fault=self._armed.fault.id,
            kind=self._armed.fault.kind,
            site=self._armed.site,
            n=self._n,
            request=request or self._request,
            states=self._states,
        )


class InjectedFailure(RuntimeError):
    """Raised inside the server by a fault."""
