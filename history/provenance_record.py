"""The lines of the scheduler's provenance log, as judging reads them."""

from __future__ import annotations

from typing import Literal

from history.protocol.provenance import AnyProvenance
from history.records import Record, Time, Whole


class ProvenanceRecord(Record, frozen=True, kw_only=True):
    """Which blocks a request was given, or stored."""

    t_ns: Time
    mono_ns: Time
    role: str
    pid: Whole
    event: Literal["provenance"]
    request: str | None
    """Server-side request id, where it is known."""
    evidence: AnyProvenance
