"""A request must not be taken for one before a fault because its clock is another machine's."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.distributed.clock_offset import ClockEstimator, Offset, PhaseClock, RoundTrip
from tests.support.histories import clean_run

NS = 1_000_000_000
MS = 1_000_000


def trip(*, there_ms: float, back_ms: float, wall_ahead_ns: int = 0, mono_ahead_ns: int = 0) -> RoundTrip:
    """The conductor's clocks are ahead by so much."""
    there, back = round(there_ms * MS), round(back_ms * MS)
    return RoundTrip(
        sent_wall_ns=50 * NS,
        sent_mono_ns=7 * NS,
        received_mono_ns=7 * NS + there + back,
        master_wall_ns=50 * NS + there + wall_ahead_ns,
        master_mono_ns=7 * NS + there + mono_ahead_ns,
    )


@given(
    there_ms=st.floats(0, 1000),
    back_ms=st.floats(0, 1000),
    ahead_ns=st.integers(-(10**18), 10**18),
)
def test_true_clock_offset_is_within_the_error_for_asymmetric_delays(
    there_ms: float, back_ms: float, ahead_ns: int
) -> None:
    found = Offset.by(
        trip(there_ms=there_ms, back_ms=back_ms, wall_ahead_ns=ahead_ns, mono_ahead_ns=-ahead_ns)
    )
    assert abs(found.wall_ns - ahead_ns) <= found.error_ns + 1
    assert abs(found.mono_ns + ahead_ns) <= found.error_ns + 1


def test_the_shortest_round_trip_counts() -> None:
    clock = ClockEstimator()
    for there_ms, back_ms in ((1, 30), (0.2, 0.4), (25, 0.1)):
        clock.note(trip(there_ms=there_ms, back_ms=back_ms, wall_ahead_ns=5 * NS))
    assert clock.offset().error_ns == 0.3 * MS
    assert clock.offset().wall_ns == pytest.approx(5 * NS, abs=0.3 * MS)


def test_phase_keeps_its_clock_offset_and_reports_the_drift() -> None:
    clock = ClockEstimator()
    clock.note(trip(there_ms=1, back_ms=1, wall_ahead_ns=5 * NS, mono_ahead_ns=-3 * NS))
    phase = PhaseClock(clock)
    clock.note(trip(there_ms=0.5, back_ms=0.5, wall_ahead_ns=5 * NS + 2 * MS))
    run = clean_run()
    request, client = run.requests[0], run.client[0]
    begin_ns = request.scheduled_ns
    assert phase.here(begin_ns) == begin_ns - 5 * NS
    here = msgspec.structs.replace(
        request,
        scheduled_ns=phase.here(request.scheduled_ns),
        start_ns=phase.here(request.start_ns),
        start_mono_ns=request.start_mono_ns + 3 * NS,
    )
    # To the nanosecond, so that a schedule is the same by whoever kept it.
    assert phase.request(here) == request
    converted = phase.client(client)
    assert converted.t_ns == client.t_ns + 5 * NS
    assert converted.clock_offset_ns == 5 * NS
    assert converted.clock_error_ns == 2.5 * MS
