"""The offset between this machine's clocks and those of the conductor's machine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import msgspec

from history.records import ClientRecord, RequestRecord

KEPT = 40
"""Round trips looked back on."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A time request and its response. `sent` and `received` by this machine's clocks, ns."""

    sent_wall_ns: int
    sent_mono_ns: int
    received_mono_ns: int
    master_wall_ns: int
    master_mono_ns: int


@dataclass(frozen=True, slots=True)
class Offset:
    """The offset to add to this machine's clocks, and its maximum error, ns."""

    wall_ns: int
    mono_ns: int
    error_ns: int

    @classmethod
    def by(cls, trip: RoundTrip) -> Offset:
        """Assumes that the master responded midway; the error is at most half of the round trip."""
        half_ns = (trip.received_mono_ns - trip.sent_mono_ns) // 2
        return cls(
            wall_ns=trip.master_wall_ns - trip.sent_wall_ns - half_ns,
            mono_ns=trip.master_mono_ns - trip.sent_mono_ns - half_ns,
            error_ns=half_ns,
        )


class ClockEstimator:
    """Estimates the offset by the shortest of the last round trips, which has the least error."""

    def __init__(self) -> None:
        self._offsets: deque[Offset] = deque(maxlen=KEPT)

    def note(self, trip: RoundTrip) -> None:
        """Add a round trip to the master."""
        self._offsets.append(Offset.by(trip))

    def trip_count(self) -> int:
        """The number of round trips kept."""
        return len(self._offsets)

    def offset(self) -> Offset:
        """The best estimate. Raises ValueError before the first round trip."""
        return min(self._offsets, key=lambda offset: offset.error_ns)


class PhaseClock:
    """One phase by the conductor's clocks: an offset is kept through a phase, so that no time jumps in it."""

    def __init__(self, clock: ClockEstimator) -> None:
        self._clock = clock
        self._offset = clock.offset()

    def here(self, begins_ns: int) -> int:
        """A wall time of the conductor's by this machine's clock."""
        return begins_ns - self._offset.wall_ns

    def request(self, record: RequestRecord) -> RequestRecord:
        """A record with its times converted to the conductor's clocks."""
        return msgspec.structs.replace(
            record,
            scheduled_ns=record.scheduled_ns + self._offset.wall_ns,
            start_ns=record.start_ns + self._offset.wall_ns,
            start_mono_ns=record.start_mono_ns + self._offset.mono_ns,
        )

    def client(self, record: ClientRecord) -> ClientRecord:
        """A client record with the offset that was applied, and the bound on its error."""
        now = self._clock.offset()
        drift_ns = abs(now.wall_ns - self._offset.wall_ns)
        return msgspec.structs.replace(
            record,
            t_ns=record.t_ns + self._offset.wall_ns,
            mono_ns=record.mono_ns + self._offset.mono_ns,
            clock_offset_ns=self._offset.wall_ns,
            clock_error_ns=now.error_ns + drift_ns,
        )
