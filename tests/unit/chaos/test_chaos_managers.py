"""Whatever is armed, healed and asked in whatever order: the wrapped manager does what is due, no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chaos.inside.fault_kind import SCHEDULER
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.inside_kinds import KINDS
from tests.support.control_directory import Entry, Room, entry
from tests.support.fault_model import COUNTED, model
from tests.support.manager_generations import Dialect, Hashes, Keys, NewKeys
from tests.support.model_tier import Key, Tier
from tests.support.scheduler_twin import UNIVERSE, Scheduler

GROUPS = (
    ("lookup_miss", "lookup_retry", "evict_after_hit"),
    ("over_report",),
    ("evict", "tier_shrunk"),
    ("store_refused",),
    ("store_failed",),
)
"""A phase can hold one fault of each."""
ALWAYS: st.SearchStrategy[Entry] = st.builds(dict, every=st.just(1))
SOME_KEYS = st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=4, unique=True)
Calls = Sequence[tuple[str, list[Key], bool]]
"""Name, blocks, and what the flag of the call says."""
CALL = st.tuples(
    st.sampled_from(("lookup", "lookup", "store", "store", "end_store", "load", "end_load", "touch")),
    SOME_KEYS,
    st.booleans(),
)
WORK = st.lists(CALL, min_size=20, max_size=40)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Faults that a scenario could arm together."""
    found = []
    for group in draw(st.lists(st.sampled_from(GROUPS), min_size=1, unique=True)):
        kind = draw(st.sampled_from(group))
        by_key = KINDS[kind].keyed and draw(st.booleans())
        trigger: Entry = {"key_share": draw(st.floats(0.1, 1.0))} if by_key else draw(COUNTED | ALWAYS)
        if draw(st.booleans()):
            trigger["limit"] = draw(st.integers(1, 3))
        params: Entry = {"dry_run": True} if draw(st.integers(0, 4)) == 0 else {}
        if kind == "evict":
            params["blocks"] = draw(st.integers(1, 3))
        if kind == "tier_shrunk":
            params["leave"] = draw(st.integers(0, 4))
        found.append(entry(kind, kind, trigger, **params))
    return found


def test_every_fault_of_the_scheduler_is_driven_here() -> None:
    driven = {kind for group in GROUPS for kind in group}
    # A call that raises ends the server: nothing comes after it that could be wrong.
    # One with contract cases of its own is checked by these.
    kinds = {kind.name for kind in KINDS.values() if kind.role == SCHEDULER and not kind.contract_cases}
    assert driven | {"manager_raises"} == kinds


class Managers(RuleBasedStateMachine):
    """A scheduler at work, and a conductor that arms, heals and gets lost."""

    room: ClassVar[Room]
    engine: ClassVar[FaultRuntime]
    dialect: ClassVar[Dialect]

    @initialize(room=st.sampled_from((8, 6, 4, 9, 2)), seed=st.integers(0, 2**63 - 1))
    def begin(self, room: int, seed: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(self.room, self.engine, self.dialect, Tier(room))

    def teardown(self) -> None:
        self.room.heal(list(self.scheduler.armed))

    @rule(calls=WORK)
    def work(self, calls: Calls) -> None:
        scheduler = self.scheduler
        for call, keys, flag in calls:
            match call:
                case "lookup":
                    scheduler.lookup(keys, later=flag and len(keys) == 1)
                case "store":
                    scheduler.store(keys, whole=flag)
                case "end_store":
                    scheduler.end_store(newest=flag)
                case "load":
                    scheduler.load(keys)
                case "end_load":
                    scheduler.end_load(newest=flag)
                case "touch":
                    scheduler.touch(keys)

    @rule(faults=entries(), calls=WORK)
    def arm(self, faults: list[Entry], calls: Calls) -> None:
        """Arm, and go on with the work."""
        healed = len(self.room.events("healed"))
        self.room.arm(*faults, seed=self.seed)
        self._settle(healed, "conductor")
        self.scheduler.armed = {str(fault["kind"]): model(fault, self.seed) for fault in faults}
        self.work(calls)

    @precondition(lambda self: self.scheduler.armed)
    @rule(lost=st.booleans())
    def end(self, lost: bool) -> None:
        """Heal, or lose the lease."""
        healed = len(self.room.events("healed"))
        if lost:
            self.room.lose_lease()
        else:
            self.room.heal(list(self.scheduler.armed))
        self._settle(healed, "lease-expired" if lost else "conductor")
        self.scheduler.is_plain()

    def _settle(self, healed_before: int, reason: str) -> None:
        """All that was armed has ended, with true counts."""
        armed = self.scheduler.armed.values()
        lines = self.room.healed(healed_before, len(armed))
        assert {line.fault: (line.n, line.evidence) for line in lines} == {
            each.fault.id: (each.arrivals, {"reason": reason, "fired": each.fired}) for each in armed
        }
        self.scheduler.armed = {}


class HashManagers(Managers):
    """As to 0.19."""


class KeyManagers(Managers):
    """As in 0.20."""


class NewKeyManagers(Managers):
    """As in 0.32."""


@pytest.fixture(scope="module", autouse=True)
def _wrapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One engine for all."""
    with Room(tmp_path_factory.mktemp("managers") / "control") as room:
        Managers.room = room
        Managers.engine = room.start(SCHEDULER)
        HashManagers.dialect = Hashes()
        KeyManagers.dialect = Keys(tmp_path_factory.mktemp("vllm"))
        NewKeyManagers.dialect = NewKeys(tmp_path_factory.mktemp("vllm"))
        yield


TestHashManagers = HashManagers.TestCase
TestKeyManagers = KeyManagers.TestCase
TestNewKeyManagers = NewKeyManagers.TestCase
SETTINGS = settings(
    max_examples=25, stateful_step_count=10, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHashManagers.settings = SETTINGS
TestKeyManagers.settings = SETTINGS
TestNewKeyManagers.settings = SETTINGS
