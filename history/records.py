"""The lines of the run directory's append-only files. JSON Lines; every line names its schema version.

Times: `*_ns` is wall clock since the epoch, `*_mono_ns` the monotonic clock of the host, `*_us` an
offset from the start of the same record. Unknown fields are errors on reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

SCHEMA_VERSION = 1

CANARY = "canary"
"""Stands for the phase where a request is the conductor's own,"""
CROWD = "crowd"
"""and where it is of clients that a fault sent."""

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Larger ones are nobody's measurement, and neither a float nor a file of ours could take them."""
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Scalar = bool | Whole | float | str | None
Evidence = dict[str, Scalar | list[Whole | str]]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all lines."""

    v: Literal[1] = 1


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The server's own count, from the end of a stream. `cached_tokens` only where the server tells it."""

    prompt_tokens: Whole
    completion_tokens: Whole
    cached_tokens: Whole | None = None


class RequestError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a request failed: class of the failure as the client saw it, HTTP status if any, message."""

    kind: str
    status: Whole | None
    message: str


Outcome = Literal["ok", "error", "aborted", "unknown"]


class RequestRecord(Record, frozen=True, kw_only=True):
    """One request as the client lived it. Written once, when it ended, whatever the end was."""

    id: str
    """Unique in the run; sent as X-Request-Id, so that server log and fault journal can be joined."""
    prompt_id: str
    """Equal prompt ids are equal prompts with equal parameters: their answers can be compared."""
    phase: str
    worker: Whole
    prompt_tokens: Whole
    """Tokens sent, counted by us."""
    max_tokens: Whole
    """Of each choice."""
    intended_ns: Time
    """When it was due, whatever the answers before it did."""
    start_ns: Time
    start_mono_ns: Time
    end_us: Time
    first_us: Time | None
    """First token; None when there was none."""
    chunk_us: Sequence[Time]
    """Arrival of each event that carried tokens."""
    chunk_tokens: Sequence[Whole]
    """Tokens in each of those events."""
    token_ids: Sequence[Whole]
    logprobs: Sequence[float]
    usage: Usage | None
    finish_reason: str | None
    status: Whole | None
    """HTTP status; None when no response came."""
    outcome: Outcome
    """ok: a finish reason and usage arrived. aborted: by us, on purpose. error: anything else that ended."""
    error: RequestError | None
    choices: Whole = 1
    """Answers asked for; tokens and logprobs stand one choice after the other."""
    held: bool = False
    """When it was due, as many were in flight as the phase allows, so it had to wait."""
    gaps: Sequence[float] = ()
    """By how much the likeliest token of each place was likelier than the next one, nats. Asked for only
    where right answers may differ."""
    prompt_logprobs: Sequence[float] = ()
    """Of the prompt's tokens from the second on. Asked for by a parameter of the prompt."""
    first_block: str | None = None
    """Hash of the prompt's first block of the server's size; None when the prompt is shorter."""


FaultEvent = Literal["loaded", "armed", "fired", "healed", "refused", "note"]


class FaultRecord(Record, frozen=True, kw_only=True):
    """One line of a fault journal, from inside the server or from outside injectors."""

    t_ns: Time
    mono_ns: Time
    role: str
    """scheduler, worker, api, or outside."""
    pid: Whole
    event: FaultEvent
    fault: str | None
    """The fault's id in the scenario; None for lines about the module itself."""
    kind: str | None
    site: str | None
    n: Count | None
    """fired: arrival number at the site, from 0. healed: how many arrivals there were."""
    request: str | None
    """Server-side request id, where the site knows it."""
    states: list[str] | None = None
    """What that request was doing when it was struck, where that is known."""
    evidence: Evidence
    """fired: what was really changed. loaded: generation, sites. healed: reason, count of firings."""


class LedgerRecord(Record, frozen=True, kw_only=True):
    """One line of the books that the chaos module keeps on the server."""

    t_ns: Time
    mono_ns: Time
    role: str
    """scheduler or worker."""
    pid: Whole
    event: Literal["balance", "violation"]
    rule: str | None
    """violation: the id of the rule that was broken; a sentence in runs of earlier versions."""
    evidence: Evidence
    """balance: by account what was begun, is open, since when, and names; blocks audited. violation: what,
    where."""


class ClientRecord(Record, frozen=True, kw_only=True):
    """How a load process did since its last such line, by its own word."""

    t_ns: Time
    mono_ns: Time
    worker: Whole
    phase: str
    wall_us: Time
    cpu_us: Time
    """Processor time of the process in that stretch."""
    lag_us: list[Time]
    """Its event loop is asked to wake somebody up again and again; how much too late that was."""
    collector_us: list[Time]
    """Pauses for the garbage collector."""
    connections: Whole
    """Sockets open at the end of the stretch."""
    clock_offset_ns: Whole | None = None
    """What was added to the clock of the worker's machine in all times of this phase; None where it is the
    conductor's own machine."""
    clock_error_ns: Time | None = None
    """How far that may be wrong: half of the shortest round trip, and what the clocks have drifted since."""


class ResourceRecord(Record, frozen=True, kw_only=True):
    """What the server's processes held at one moment, by the kernel's word, summed over them."""

    t_ns: Time
    mono_ns: Time
    leader: Whole
    """Process id of the server's leader."""
    started: Whole
    """Its start, clock ticks since boot: together they tell one life of the server from another."""
    processes: Whole
    threads: Whole
    files: Whole
    """Open file descriptors that are no sockets: files, pipes, events."""
    sockets: Whole
    resident_bytes: Whole
    """Memory that is present; what processes share counts in each."""
    anonymous_bytes: Whole
    """Of that, what no file is behind: heaps, stacks, tensors."""
    shm_bytes: Whole
    """Of the files under /dev/shm that the server has made and that are still there."""


class Event(Record, frozen=True, kw_only=True):
    """A step of the run: phases, process life, canaries, signals."""

    t_ns: Time
    mono_ns: Time
    kind: str
    data: Evidence


class ScrapeLine(Record, frozen=True, kw_only=True):
    """One scrape of /metrics, as difference to the one before.

    `new` appends series names to the file's running list; `changed` maps an index of that list to the
    sample's value. A value that JSON has no number for stands as "NaN", "+Inf" or "-Inf". A failed
    scrape has `error` and no samples; a series that vanished stands in `gone`. What Prometheus saw has the
    same form; of the monotonic clock it tells nothing, so that stands at 0.
    """

    t_ns: Time
    mono_ns: Time
    took_us: Time
    incarnation: float | None
    """process_start_time_seconds of the server; None where it tells none."""
    new: list[str]
    changed: dict[str, float | str]
    gone: list[Whole]
    error: str | None
