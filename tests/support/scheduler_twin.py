"""A scheduler that asks a wrapped manager, and knows of every call what must come of it.

Beside the tier stands a twin of it. What nothing strikes must be answered, and must leave the tier, as
the inner manager alone would; what is struck must be what the schedule says, in effect as well.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.inside.fault_runtime import FaultRuntime
from history.records import FaultRecord
from tests.support.control_directory import Room
from tests.support.fault_model import Model
from tests.support.manager_generations import Dialect
from tests.support.model_tier import Block, Key, Tier

UNIVERSE = tuple(bytes([number]) * 32 for number in range(6))
"""Blocks that requests bring."""
MADE_UP = b"made up"


@dataclass
class _Call:
    """A call under way: the tier as it must be afterwards, and what the journal must say."""

    twin: Tier
    known: int
    """Lines of the journals before it."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Event and fault."""


class Scheduler:
    """Each method is one call; it asserts that all comes of it that must, and nothing else."""

    def __init__(self, room: Room, engine: FaultRuntime, dialect: Dialect, tier: Tier) -> None:
        self._room = room
        self._dialect = dialect
        self._tier = tier
        self._manager = dialect.wrap(tier, engine)
        self._stores: list[list[Key]] = []
        self._loads: list[list[Key]] = []
        self.armed: dict[str, Model] = {}
        """By kind."""

    def lookup(self, keys: Sequence[Key], later: bool) -> None:
        """Ask for blocks; `later`: the manager beneath puts off."""
        keys = keys[: self._dialect.longest_lookup]
        self._tier.later = later
        call = self._begin_lookup()
        answer = self._dialect.lookup(self._manager, keys)
        self._tier.later = call.twin.later = False
        assert answer == (self._dialect.later if later else self._due(call, keys))
        self._same(call)

    def _due(self, call: _Call, keys: Sequence[Key]) -> Any:
        """What must be answered; makes the twin lose what must be lost."""
        twin, dialect = call.twin, self._dialect
        plain = dialect.plain(twin, keys)
        hits = next((index for index, key in enumerate(keys) if not twin.ready(key)), len(keys))
        missing = [key for key in keys[hits:] if dialect.misses(twin, key)]
        for index, key in enumerate(keys[:hits]):
            if self._strikes(call, "lookup_miss", key):
                return dialect.missed(index)
            if self._strikes(call, "lookup_retry", key):
                return dialect.later
            if self._strikes(call, "evict_after_hit", key):
                twin.drop(twin.idle())
        if missing and self._strikes(call, "over_report", missing[0]):
            return dialect.claimed(hits)
        return plain

    def store(self, keys: Sequence[Key], whole: bool) -> None:
        """Begin a store; `whole`: end it, too."""
        call = self._begin_lookup()
        answer = self._dialect.store(self._manager, keys)
        self._evict(call)
        self._shrink(call)
        new = [key for key in keys if key not in call.twin.blocks]
        refused = bool(new) and self._strikes(call, "store_refused")
        assert answer == (None if refused else call.twin.prepare(keys))
        self._same(call)
        if answer is not None and answer[0]:
            self._stores.append(answer[0])
            if whole:
                self.end_store(newest=True)

    def _evict(self, call: _Call) -> None:
        idle = call.twin.idle()
        if not self._strikes(call, "evict", possible=bool(idle)):
            return
        (line,) = [line for line in self._deeds()[call.known :] if line.fault == "evict"]
        gone = int(str(line.evidence["blocks"]))
        wanted = int(self.armed["evict"].fault.params["blocks"])
        assert min(wanted, len(idle)) <= gone <= len(idle)
        call.twin.drop(idle[:gone])

    def _shrink(self, call: _Call) -> None:
        if not self._strikes(call, "tier_shrunk"):
            return
        twin = call.twin
        twin.drop([key for key in twin.blocks if key not in UNIVERSE])
        twin.drop(twin.idle())
        leave = int(self.armed["tier_shrunk"].fault.params["leave"])
        occupied = range(max(0, twin.room - len(twin.blocks) - leave))
        twin.blocks.update((MADE_UP + bytes([number]), Block()) for number in occupied)

    def end_store(self, newest: bool) -> None:
        if not self._stores:
            return
        keys = self._stores.pop(-1 if newest else 0)
        call = self._begin_call()
        self._dialect.end_store(self._manager, keys)
        call.twin.complete(keys, not self._strikes(call, "store_failed"))
        self._same(call)

    def load(self, keys: Sequence[Key]) -> None:
        """Begin a load of those blocks that are there."""
        ready = [key for key in keys if self._tier.ready(key)]
        if not ready:
            return
        call = self._begin_call()
        self._dialect.load(self._manager, ready)
        call.twin.read(ready, 1)
        self._same(call)
        self._loads.append(ready)

    def end_load(self, newest: bool) -> None:
        if not self._loads:
            return
        keys = self._loads.pop(-1 if newest else 0)
        call = self._begin_call()
        self._dialect.end_load(self._manager, keys)
        call.twin.read(keys, -1)
        self._same(call)

    def touch(self, keys: Sequence[Key]) -> None:
        call = self._begin_call()
        self._dialect.touch(self._manager, keys)
        call.twin.touch(keys)
        self._same(call)

    def is_plain(self) -> None:
        """Nothing is held, and every block is answered as it is."""
        for key in UNIVERSE:
            assert self._dialect.lookup(self._manager, [key]) == self._dialect.plain(self._tier, [key])
        assert set(self._tier.blocks) <= set(UNIVERSE)

    def _begin_lookup(self) -> _Call:
        """With a question, what a healed fault still occupied becomes free again."""
        call = self._begin_call()
        if "tier_shrunk" not in self.armed:
            call.twin.drop([key for key in call.twin.blocks if key not in UNIVERSE])
        return call

    def _begin_call(self) -> _Call:
        return _Call(copy.deepcopy(self._tier), len(self._deeds()))

    def _strikes(self, call: _Call, kind: str, key: Key = b"", possible: bool = True) -> bool:
        """Count an arrival; whether it must be struck with effect, and which line the journal must have."""
        armed = self.armed.get(kind)
        if armed is None or not armed.arrive(key):
            return False
        real = possible and not armed.dry
        call.lines.append(("fired" if real else "refused", armed.fault.id))
        armed.fired += real
        return real

    def _deeds(self) -> list[FaultRecord]:
        """What the journal says but for the consequences that it notes."""
        return [line for line in self._room.lines() if line.event != "note"]

    def _same(self, call: _Call) -> None:
        assert state(self._tier) == state(call.twin)
        lines = self._deeds()[call.known :]
        assert [(line.event, line.fault) for line in lines] == call.lines
        limits = [(armed.fired, armed.fault.trigger.limit) for armed in self.armed.values()]
        assert all(limit is None or fired <= limit for fired, limit in limits)


def state(tier: Tier) -> list[tuple[Key, bool, int]]:
    """The blocks in order of their use. Which name a made-up block bears does not matter."""
    return [
        (key if key in UNIVERSE else MADE_UP, block.ready, block.readers)
        for key, block in tier.blocks.items()
    ]
