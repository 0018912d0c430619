"""What a network does to each run of bytes is the seed's, and what it did is counted."""

from __future__ import annotations

import pytest

from chaos.outside.network.impairments import (
    DOWN,
    MOST_REPEATS,
    UP,
    AddedLatency,
    Counters,
    Loss,
    SlowReading,
)
from history.protocol.outside import BytesDelayed, SlowRead

SEED = 7


def counters(strike: str = "s/0") -> Counters:
    return Counters(strike, since=0.0)


def delays(impairment: AddedLatency | Loss, count: int = 2000) -> list[float | None]:
    return [impairment.delay_s(DOWN) for _ in range(count)]


def test_latency_is_drawn_per_direction() -> None:
    latency = AddedLatency(counters(), SEED, up_ms=80, down_ms=40, jitter_ms=0)
    assert latency.delay_s(UP) == 0.08
    assert latency.delay_s(DOWN) == 0.04


def test_jitter_is_the_seeds_and_stays_within_its_bound() -> None:
    one, again, other = (
        delays(AddedLatency(counters(strike), SEED, up_ms=0, down_ms=40, jitter_ms=20))
        for strike in ("s/0", "s/0", "s/1")
    )
    assert one == again != other
    known = [each for each in one if each is not None]
    assert 0.040 <= min(known) < 0.042
    assert 0.058 < max(known) <= 0.060


def test_a_share_of_the_pieces_is_lost_and_each_further_loss_takes_twice_as_long() -> None:
    one, again = (delays(Loss(counters(), SEED, share=0.2, again_ms=200)) for _ in range(2))
    assert one == again
    lost = [round(each, 6) for each in one if each is not None]
    assert len(lost) == pytest.approx(400, rel=0.15)
    assert lost.count(0.2) == pytest.approx(320, rel=0.15)
    assert lost.count(0.6) == pytest.approx(64, rel=0.35)


def test_total_loss_delivers_after_the_maximum_of_retransmissions() -> None:
    (delay,) = delays(Loss(counters(), SEED, share=1.0, again_ms=200), 1)
    assert delay == pytest.approx(0.2 * (2**MOST_REPEATS - 1))


def test_delay_counts_from_the_strike_even_for_earlier_bytes() -> None:
    counted = Counters("s/0", since=10.0)
    counted.queue("a")
    counted.release(100, since=9.0, until=10.5)
    assert counted.evidence() == BytesDelayed(
        waiting=0, passed=1, bytes=100, shortest_ms=500.0, longest_ms=500.0, requests=["a"]
    )


def test_slow_reader_slows_the_given_number_of_identified_requests() -> None:
    slow = SlowReading(counters(), requests=2, bytes_per_s=1000)
    assert [slow.takes(name) for name in ("", "a", "b", "c")] == [False, True, True, False]
    assert slow.evidence().requests == ["a", "b"]


def test_a_slow_reader_has_no_effect_until_bytes_wait_for_it() -> None:
    slow = SlowReading(counters(), requests=1, bytes_per_s=1000)
    slow.paused(0, 0.05)
    assert not slow.has_effect()
    slow.paused(700, 0.05)
    slow.paused(300, 0.05)
    assert slow.has_effect()
    assert slow.evidence() == SlowRead(bytes=0, unread_bytes=700, unread_ms=100.0, requests=[])
