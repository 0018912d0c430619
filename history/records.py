"""The lines of the run directory's append-only files. JSON Lines; every line names its schema version.

Times: `*_ns` is wall clock since the epoch, `*_mono_ns` the monotonic clock of the host, `*_us` an
offset from the start of the same record. Unknown fields are errors on reading.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec

from history.protocol.audit_records import AnyProvenance, Balance, Violation, balance_in
from history.protocol.evidence import (
    FIRINGS,
    SCHEMA_VERSION,
    AnyNote,
    FaultReverted,
    Firing,
    Healed,
    Loaded,
    Refused,
    note_in,
)
from history.protocol.evidence import Evidence as TypedEvidence
from history.protocol.outside import REVERTED

PROBE = "probe"
"""Value of `RequestRecord.phase` for the conductor's probes."""
CROWD = "crowd"
"""Value of `RequestRecord.phase` for requests of crowds, which a fault sends."""

ABANDONED = "Abandoned"
"""Kind of `RequestError`: the client aborted on purpose. Kinds not listed here are names of exceptions."""
DEADLINE_EXCEEDED = "DeadlineExceeded"
"""Kind of `RequestError`: the client gave up at the deadline."""
TRUNCATED_STREAM = "TruncatedStream"
"""Kind of `RequestError`: the stream ended without an error and too early."""
ERROR_EVENT = "ErrorEvent"
"""Kind of `RequestError`: the stream contained an error."""

CONNECTION_ERRORS = frozenset(
    {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError"}
)
"""How the load client names the end of a connection."""

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Larger values are no measurement, and neither a float nor a file of a run can store them."""
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Scalar = bool | Whole | float | str | None
Evidence = dict[str, Scalar | list[Whole | str]]


class Record(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="v",
    tag=SCHEMA_VERSION,
):
    """Base of all lines."""


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
    """Most tokens of each choice."""
    scheduled_ns: Time
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
    client_queued: bool = False
    """When it was due, as many were in flight as the phase allows, so it had to wait."""
    logprob_margins: Sequence[float] = ()
    """Logprob margins, nats, one a token. Requested only where right answers may differ."""
    prompt_logprobs: Sequence[float] = ()
    """Logprobs of the prompt's tokens from the second on. Requested by a parameter of the prompt."""
    first_block: str | None = None
    """Hash of the prompt's first block of the server's size; None when the prompt is shorter."""
    marker: tuple[Whole, ...] = ()
    """Tokens that the prompt asks for, and that only its own prefix has. Empty: it asks for none."""


def first_block_of(tokens: Sequence[int], size: int | None) -> str | None:
    """The hash of a prompt's first block of so many tokens; None when the prompt is shorter."""
    if size is None or len(tokens) < size:
        return None
    return hashlib.blake2b(array("q", tokens[:size]).tobytes(), digest_size=6).hexdigest()


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
    """fired: number of the invocation at the site, from 0. healed: how many invocations there were."""
    request: str | None
    """Server-side request id, where the site knows it."""
    states: list[str] | None = None
    """What that request was doing when it was struck, where that is known."""
    evidence: Evidence
    """Evidence as stored. Read it by the properties below. Raises msgspec.ValidationError."""

    @property
    def loaded(self) -> Loaded | None:
        """What the chaos module loaded in a process; None for any other event."""
        return msgspec.convert(self.evidence, Loaded) if self.event == "loaded" else None

    @property
    def refusal(self) -> Refused | None:
        """Why an injection was refused; None for any other event."""
        return msgspec.convert(self.evidence, Refused) if self.event == "refused" else None

    @property
    def healed(self) -> Healed | None:
        """What was confirmed at healing; None for any other event."""
        return msgspec.convert(self.evidence, Healed) if self.event == "healed" else None

    @property
    def firing(self) -> Firing | None:
        """What was really changed, by the kind of fault."""
        return msgspec.convert(self.evidence, _type_of(self.kind, FIRINGS)) if self.event == "fired" else None

    @property
    def note(self) -> AnyNote | None:
        """What a note of the journal says; None for any other event."""
        return note_in(self.evidence) if self.event == "note" else None

    @property
    def reverted(self) -> TypedEvidence | None:
        """What shows that a fault from outside is undone; of the network all that it did."""
        if not isinstance(self.note, FaultReverted):
            return None
        shown = {name: value for name, value in self.evidence.items() if name not in _OF_THE_NOTE}
        return msgspec.convert(shown, _type_of(self.kind, REVERTED))


_OF_THE_NOTE = {FaultReverted.__struct_config__.tag_field, *FaultReverted.__struct_fields__}
Type = TypeVar("Type")


def _type_of(kind: str | None, types: Mapping[str, type[Type]]) -> type[Type]:
    """Raises msgspec.ValidationError."""
    found = types.get(kind or "")
    if found is None:
        raise msgspec.ValidationError(f"unknown kind of fault {kind!r}")
    return found


class LedgerRecord(Record, frozen=True, kw_only=True):
    """One line of the books that the chaos module keeps on the server."""

    t_ns: Time
    mono_ns: Time
    role: str
    """scheduler or worker."""
    pid: Whole
    event: Literal["balance", "violation"]
    rule: str | None
    """violation: the id of the rule that was broken, see `history.protocol.audit_records`."""
    evidence: Evidence
    """Evidence as stored. Read it by the properties below, as in the fault journal."""

    @property
    def balance(self) -> Balance | None:
        """The accounts at that time; None for a violation."""
        return balance_in(self.evidence) if self.event == "balance" else None

    @property
    def violation(self) -> Violation | None:
        """The rule of the transfer audit that was broken; None for a balance."""
        return msgspec.convert(self.evidence, Violation) if self.event == "violation" else None


class ClientRecord(Record, frozen=True, kw_only=True):
    """How a load process did since its last such line, by its own word."""

    t_ns: Time
    mono_ns: Time
    worker: Whole
    phase: str
    wall_us: Time
    cpu_us: Time
    """Processor time of the process in that stretch."""
    event_loop_lag_us: list[Time]
    """Event loop lag, us: how late a timer that fires again and again was."""
    gc_pause_us: list[Time]
    """Pauses for the garbage collector."""
    connections: Whole
    """Sockets open at the end of the stretch."""
    clock_offset_ns: Whole | None = None
    """Added to all times of this phase; None on the conductor's own machine."""
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
    """Part of it without a file behind it: heaps, stacks, tensors."""
    shm_bytes: Whole
    """Size of the files under /dev/shm that the server has made and that still exist."""
    zombies: Whole | None = None
    """Children that have ended and that the server has not collected. None in runs of earlier versions."""


class GpuRecord(Record, frozen=True, kw_only=True):
    """What the driver reports of one GPU at one moment, by NVML. None where a card does not report it."""

    t_ns: Time
    mono_ns: Time
    index: Whole
    name: str
    driver: str
    error: str | None = None
    """Why the driver reports nothing of it, by the driver's own message."""
    used_bytes: Whole | None = None
    """Device memory in use, by all processes."""
    total_bytes: Whole | None = None
    busy_percent: Whole | None = None
    """Part of the last sampling period in which a kernel ran."""
    bus_sent_bytes_per_s: Whole | None = None
    """Over the bus, from the card to the host."""
    bus_received_bytes_per_s: Whole | None = None
    power_mw: Whole | None = None
    celsius: Whole | None = None
    clock_mhz: Whole | None = None
    """Of the multiprocessors."""
    max_clock_mhz: Whole | None = None
    slowdowns: tuple[str, ...] = ()
    """Why the clocks are lower than they could be: `thermal`, `hardware`, `power-brake`, `power-cap`."""
    uncorrected_errors: Whole | None = None
    """Memory errors that ECC could not correct, since the driver was loaded."""
    xids: tuple[int, ...] = ()
    """Critical errors since the last sample, by NVIDIA's XID numbers."""
    host_pinned_bytes: Whole | None = None
    """Memory of the host that drivers have pinned, of the whole machine. None in runs of earlier versions."""


class Event(Record, frozen=True, kw_only=True):
    """A step of the run: phases, process life, probes, signals."""

    t_ns: Time
    mono_ns: Time
    kind: str
    data: Evidence


class ScrapeLine(Record, frozen=True, kw_only=True):
    """One scrape of /metrics, as difference to the one before.

    `new` appends series names to the file's running list. `changed` maps an index of that list, as a string,
    to the value; "NaN", "+Inf" and "-Inf" are strings too. `gone` has the series that vanished. A failed
    scrape has `error` and no samples. Scrapes of Prometheus have a monotonic time of 0.
    """

    t_ns: Time
    mono_ns: Time
    took_us: Time
    incarnation: float | None
    """process_start_time_seconds of the server; None where it tells none."""
    new: list[str]
    changed: dict[int, float | str]
    gone: list[Whole]
    error: str | None


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
