"""The messages of the conductor and a load worker: JSON lines on the worker's stdin and stdout.

The master forwards them to joined workers, see loadtests.distributed.master_protocol.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from history.events import CutShort
from history.phase_spec import Role
from history.records import ClientRecord

StopReason = Literal["measured", CutShort]
"""Why a phase is stopped. measured: it lasted long enough."""
ArrivalParam = int | float | str | list[float]
TTFT_BOUNDS_S = (
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
ITL_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of a `LatencyReport`; one more holds what is above."""


class StartPhase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="phase"):
    """Over all workers: `requests` requests of a workload, from index `first` on, `concurrency` at a time."""

    name: str
    role: Role
    workload: str
    requests: int
    concurrency: int
    first: int
    arrivals: dict[str, ArrivalParam]
    begins_ns: int
    """Wall clock at which the schedule of the arrivals begins, the same for all workers."""


class StopPhase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="stop"):
    """Send nothing more; what is in flight gets a short grace. Without a running phase it does nothing."""

    reason: StopReason


class Quit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="quit"):
    """Stop at once and exit. The end of stdin means the same."""


Command = StartPhase | StopPhase | Quit


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The progress of a phase. sent = ok + failed + aborted + in_flight."""

    phase: str
    sent: int
    ok: int
    failed: int
    aborted: int
    """Given up by us when the phase was stopped early."""
    in_flight: int
    tokens: int
    last_token_age_s: float
    """Seconds since the last token, or since the phase began when there was none yet."""


class Joined(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="report", tag="joined"):
    """A worker that the conductor did not start has joined; `Ready` follows."""

    host: str
    """Name of its machine."""
    pid: int


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="report", tag="ready"):
    """The worker has read the plan; a joined worker also reaches the server."""


class Progress(Counts, frozen=True, kw_only=True, tag_field="report", tag="progress"):
    """Several times a second while a phase runs."""


class PhaseDone(Counts, frozen=True, kw_only=True, tag_field="report", tag="phase_done"):
    """All requests of the phase have ended and are on disk."""

    reason: Literal["complete", StopReason]


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="report", tag="health"):
    """Once a second while a phase runs, and before its end: the health of the worker itself."""

    record: ClientRecord


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Times counted by buckets: TTFT by `TTFT_BOUNDS_S`, ITL by `ITL_BOUNDS_S`."""

    counts: list[int]
    """Number of observations of each bucket alone; the last one has no upper bound."""
    sum_s: float


class LatencyReport(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="report", tag="latency"
):
    """Once a second while a phase runs, and before its end: TTFT and ITL of its good answers so far."""

    phase: str
    ttft: Counted
    itl: Counted


class Failed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="report", tag="failed"):
    """The worker has failed and exits with code 3."""

    message: str


Report = Joined | Ready | Progress | PhaseDone | Health | LatencyReport | Failed


class WorkerReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report that the master of joined workers forwards; `worker` None: the master's own."""

    worker: int | None
    report: Report


EXIT_FAILED = 3
"""Exit code of a worker that has failed; the report `failed` has the reason."""
EXIT_NOT_NEEDED = 4
"""Exit code of a worker that joined a run that needs no more workers."""
