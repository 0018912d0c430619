"""The schema versions of the lines in run directories. Lines of version 1 are read as the types of today.

Every line names its version as `v`. A type of today has a subclass for each earlier version. The subclass
gives the names of that version to the fields that were renamed, and translates values when it is decoded. The
decoder chooses by `v`, so today's lines cost nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import force_setattr

from history.events import ProbeSent
from history.records import (
    PROBE,
    ClientRecord,
    Event,
    FaultRecord,
    LedgerRecord,
    ProvenanceRecord,
    Record,
    RequestRecord,
    ResourceRecord,
    ScrapeLine,
    Time,
)

PROBE_V1 = "canary"
"""The phase of probes, and the kind of their events, in version 1."""
EVIDENCE_V1: Mapping[str, Mapping[str, str]] = {"network_latency": {"both_ways_ms": "round_trip_ms"}}
"""Fields of evidence in version 1 with the names of today, by kind of fault."""


class RequestRecordV1(RequestRecord, frozen=True, kw_only=True, tag=1):
    """A request record of schema version 1."""

    scheduled_ns: Time = msgspec.field(name="intended_ns")
    client_queued: bool = msgspec.field(name="held", default=False)
    logprob_margins: Sequence[float] = msgspec.field(name="gaps", default=())

    def __post_init__(self) -> None:
        if self.phase == PROBE_V1:
            force_setattr(self, "phase", PROBE)


class ClientRecordV1(ClientRecord, frozen=True, kw_only=True, tag=1):
    """A sample of a load worker of schema version 1."""

    event_loop_lag_us: list[Time] = msgspec.field(name="lag_us")
    gc_pause_us: list[Time] = msgspec.field(name="collector_us")


class EventV1(Event, frozen=True, kw_only=True, tag=1):
    """An event of schema version 1."""

    def __post_init__(self) -> None:
        if self.kind == PROBE_V1:
            force_setattr(self, "kind", ProbeSent.kind)


class FaultRecordV1(FaultRecord, frozen=True, kw_only=True, tag=1):
    """A line of a fault journal of schema version 1."""

    def __post_init__(self) -> None:
        names = EVIDENCE_V1.get(self.kind or "")
        if names is not None:
            evidence = {names.get(name, name): value for name, value in self.evidence.items()}
            force_setattr(self, "evidence", evidence)


class LedgerRecordV1(LedgerRecord, frozen=True, kw_only=True, tag=1):
    """A line of the transfer audit of schema version 1; its fields are those of version 2."""


class ResourceRecordV1(ResourceRecord, frozen=True, kw_only=True, tag=1):
    """A resource sample of schema version 1; its fields are those of version 2."""


class ScrapeLineV1(ScrapeLine, frozen=True, kw_only=True, tag=1):
    """A line of `metrics.jsonl` of schema version 1; its fields are those of version 2."""


class ProvenanceRecordV1(ProvenanceRecord, frozen=True, kw_only=True, tag=1):
    """A line of the provenance log of schema version 1; its fields are those of version 2."""


_V1: Mapping[type[Record], type[Record]] = {
    RequestRecord: RequestRecordV1,
    ClientRecord: ClientRecordV1,
    Event: EventV1,
    FaultRecord: FaultRecordV1,
    LedgerRecord: LedgerRecordV1,
    ResourceRecord: ResourceRecordV1,
    ScrapeLine: ScrapeLineV1,
    ProvenanceRecord: ProvenanceRecordV1,
}
R = TypeVar("R", bound=Record)


def decoder_of(kind: type[R]) -> msgspec.json.Decoder[R]:
    """Decodes the lines of all versions of a type."""
    earlier = _V1.get(kind)
    return msgspec.json.Decoder(kind if earlier is None else kind | earlier)
