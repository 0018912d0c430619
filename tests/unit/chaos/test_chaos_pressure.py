"""Pressure must evict what is idle, spare what is in use, and give all room back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.inside.managers.tier_faults import Pressure


class Tier:
    """A tier that evicts its oldest idle block first."""

    def __init__(self, room: int, idle: int, busy: int) -> None:
        self.room = room
        self.idle = [f"idle-{number}" for number in range(idle)]
        self.busy = busy
        self.prepared: set[bytes] = set()
        self.calls = 0

    def store(self, keys: list[bytes]) -> list[str] | None:
        self.calls += 1
        missing = len(keys) - (self.room - len(self.idle) - self.busy - len(self.prepared))
        if missing > len(self.idle):
            return None
        gone, self.idle = self.idle[: max(0, missing)], self.idle[max(0, missing) :]
        self.prepared.update(keys)
        return gone

    def drop(self, keys: list[bytes]) -> None:
        self.prepared.difference_update(keys)


@st.composite
def tiers(draw: st.DrawFn) -> Tier:
    room = draw(st.integers(0, 3_000))
    busy = draw(st.integers(0, room))
    return Tier(room, draw(st.integers(0, room - busy)), busy)


@settings(deadline=None)
@given(tiers(), st.integers(1, 4_000))
def test_eviction_overshoots_by_at_most_an_eighth_and_frees_its_blocks(tier: Tier, wanted: int) -> None:
    idle = len(tier.idle)
    gone = Pressure(tier.store, tier.drop, bytes).evict(wanted)
    assert min(wanted, idle) <= len(gone) <= max(wanted * 2, wanted + tier.room // 8)
    assert len(tier.idle) == idle - len(gone)
    assert not tier.prepared
    assert tier.calls < 400


@settings(deadline=None)
@given(tiers())
def test_all_idle_blocks_can_be_evicted(tier: Tier) -> None:
    idle = list(tier.idle)
    assert Pressure(tier.store, tier.drop, bytes).evict_all() == idle
    assert not tier.prepared


@settings(deadline=None)
@given(tiers(), st.integers(0, 50))
def test_occupied_tier_accepts_exactly_its_remaining_capacity(tier: Tier, leave: int) -> None:
    pressure = Pressure(tier.store, tier.drop, bytes)
    assert pressure.occupy(leave) == max(0, tier.room - tier.busy - leave)
    assert pressure.occupied == len(tier.prepared)
    pressure.release()
    assert not tier.prepared
    assert pressure.occupied == 0


@settings(deadline=None)
@given(tiers(), st.integers(0, 50), st.integers(1, 100))
def test_occupied_blocks_survive_evictions_until_released(tier: Tier, leave: int, wanted: int) -> None:
    # An eviction that forgot what was held before it would leave the tier small for ever.
    pressure = Pressure(tier.store, tier.drop, bytes)
    occupied = pressure.occupy(leave)
    pressure.evict(wanted)
    assert pressure.occupied == len(tier.prepared) == occupied
    pressure.release()
    assert not tier.prepared
