"""The events of a run: a type for each kind, by which they are written and read.

A line of events.jsonl holds the kind as `kind` and the fields of its type as `data`; a field that has its
default is left out. Kinds and fields stay: stored runs have them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from history.records import Count, Event, Time, Whole

READY, FINAL = "ready", "final"
"""`where` of the first probe, before any load, and of the last one, after all load."""
SERVER_SERVICE = "server"
"""The service of a compose project in which vLLM runs."""
OUT_OF_MEMORY = "oom"
"""The action of a container in which the kernel has ended something for lack of memory."""

CutShort = Literal["server-dead", "stalled"]
"""Why a phase ends before its load is over: the server has ended, or no token comes any more."""
PhaseEnding = Literal["done", CutShort]
HealedBy = Literal["journal", "server-exit", "nobody"]
"""What confirmed that faults have ended: the fault journals, the end of their process, or nothing."""


class EventData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of what the kinds of events say."""

    kind: ClassVar[str] = ""


class ServerStart(EventData, frozen=True):
    """An incarnation of the server began."""

    kind: ClassVar[str] = "server_start"
    pid: Whole | None = None
    """Process id of its leader; None where it is not ours."""
    port: Whole | None = None
    log_line: Count | None = None
    """Lines that the server's log had before; None where an earlier version did not note it."""
    kept: bool = False
    """An earlier run has left it up."""
    url: str | None = None
    """Address of a server that is not ours."""
    container: str | None = None
    project: str | None = None


class ServerReady(EventData, frozen=True):
    """The server answers requests."""

    kind: ClassVar[str] = "server_ready"
    seconds: float
    """Since its start."""


class ServerNotReady(EventData, frozen=True):
    """An incarnation that was to follow another one did not serve in time."""

    kind: ClassVar[str] = "server_not_ready"
    seconds: float
    alive: bool


class ServerExit(EventData, frozen=True):
    """An incarnation ended, and not since the run was over."""

    kind: ClassVar[str] = "server_exit"
    code: Whole
    """Negative for a signal."""
    pid: Whole | None = None


class ServerStop(EventData, frozen=True):
    """The server was stopped, since the run was over."""

    kind: ClassVar[str] = "server_stop"
    how: Literal["SIGTERM"]
    code: Whole | None
    log_line: Count
    """Lines that the server's log had before."""


class LoadWorker(EventData, frozen=True):
    """A load process joined."""

    kind: ClassVar[str] = "load_worker"
    worker: Whole
    host: str
    pid: Whole


class PhaseStart(EventData, frozen=True):
    """A phase of load begins."""

    kind: ClassVar[str] = "phase_start"
    phase: str
    role: str
    requests: Whole
    settled: bool | None = None
    """Whether the server was idle before the phase; None in runs of earlier versions."""


class PhaseEnd(EventData, frozen=True):
    """A phase of load has ended, with the requests that it sent and how they ended."""

    kind: ClassVar[str] = "phase_end"
    phase: str
    sent: Count
    """Requests that were sent. `ok` and `failed` of them have ended so."""
    ok: Count
    failed: Count
    reason: PhaseEnding
    settled: bool | None = None
    """The same after it; None, too, where the phase was cut short."""


class FaultsArmed(EventData, frozen=True):
    """Faults are in force."""

    kind: ClassVar[str] = "armed"
    phase: str
    faults: list[str]
    """Their ids."""


class FaultsHealed(EventData, frozen=True):
    """Faults are no longer in force."""

    kind: ClassVar[str] = "healed"
    phase: str
    faults: list[str]
    confirmed: bool
    by: HealedBy | None = None
    """None where an earlier version did not note it."""


class PrefixCacheReset(EventData, frozen=True):
    """The server was requested to drop its prefix cache, after a contract-violating fault."""

    kind: ClassVar[str] = "prefix_cache_reset"
    ok: bool | None
    answer: str
    detail: str


class LeakProbe(EventData, frozen=True):
    """The same at the end: it refuses while a request holds blocks."""

    kind: ClassVar[str] = "leak_probe"
    ok: bool | None
    """None: it gave no answer by which to tell."""
    answer: str
    detail: str


class ServerStalled(EventData, frozen=True):
    """Requests were in flight, and for long no token came."""

    kind: ClassVar[str] = "stall"
    seconds: float
    running: int | float | None
    waiting: int | float | None
    detail: str


class ContainerAction(EventData, frozen=True):
    """What the container engine reported of one of the run's containers."""

    kind: ClassVar[str] = "container"
    action: str
    service: str
    container: str
    at_ns: Time
    code: Whole | None = None
    signal: Whole | None = None


class Drained(EventData, frozen=True):
    """All load had ended, and the server was waited for to be idle."""

    kind: ClassVar[str] = "drained"
    ok: bool
    seconds: float
    running: int | float | None = None
    waiting: int | float | None = None
    kv_usage: int | float | None = None


class ProbeSent(EventData, frozen=True):
    """A probe: one completion of the conductor's own."""

    kind: ClassVar[str] = "probe"
    where: str
    """`READY`, `FINAL`, or for people after what it was sent."""
    ok: bool
    seconds: float
    request: str
    """Its id in the records of requests."""
    error: str | None


class HealthChecked(EventData, frozen=True):
    """The answer of /health, after the probe of the same `where`."""

    kind: ClassVar[str] = "health"
    where: str
    ok: bool
    status: Whole | None
    """None: there was no answer."""


class PrometheusRead(EventData, frozen=True):
    """What Prometheus scraped was read from it."""

    kind: ClassVar[str] = "prometheus_read"
    scrapes: Count
    error: str | None


class CleanState(EventData, frozen=True):
    """Whether the server may serve another run, and why not."""

    kind: ClassVar[str] = "clean_state"
    clean: bool
    objections: list[str]


class InterruptedBy(EventData, frozen=True):
    """A signal ended the run."""

    kind: ClassVar[str] = "interrupted"
    signal: str


class RunFailed(EventData, frozen=True):
    """The run could not be carried out, for a reason that is not the server's."""

    kind: ClassVar[str] = "run_failed"
    reason: str
    """The reason as text."""


class EvidenceCounted(EventData, frozen=True):
    """The last event of a run."""

    kind: ClassVar[str] = "evidence"
    lines: dict[str, Count]
    """Lines of each file that judging reads, by its path in the run directory. This is `data` of the line."""


TYPES: tuple[type[EventData], ...] = (
    ServerStart,
    ServerReady,
    ServerNotReady,
    ServerExit,
    ServerStop,
    LoadWorker,
    PhaseStart,
    PhaseEnd,
    FaultsArmed,
    FaultsHealed,
    PrefixCacheReset,
    LeakProbe,
    ServerStalled,
    ContainerAction,
    Drained,
    ProbeSent,
    HealthChecked,
    PrometheusRead,
    CleanState,
    InterruptedBy,
    RunFailed,
    EvidenceCounted,
)


_BY_KIND = {each.kind: each for each in TYPES}

D_co = TypeVar("D_co", bound=EventData, covariant=True)
D = TypeVar("D", bound=EventData)


@dataclass(frozen=True, slots=True)
class Timed(Generic[D_co]):
    """An event and when it happened: wall clock and monotonic time, ns."""

    t_ns: int
    mono_ns: int
    data: D_co


def stored(event: Timed[EventData]) -> Event:
    """The line of events.jsonl."""
    return Event(t_ns=event.t_ns, mono_ns=event.mono_ns, kind=event.data.kind, data=shown(event.data))


def typed(line: Event) -> Timed[EventData]:
    """The event of a line of events.jsonl. Raises msgspec.ValidationError."""
    kind = _BY_KIND.get(line.kind)
    if kind is None:
        raise msgspec.ValidationError(f"unknown kind of event {line.kind!r}")
    data: Any = {"lines": line.data} if kind is EvidenceCounted else line.data
    return Timed(line.t_ns, line.mono_ns, msgspec.convert(data, kind))


def of_type(events: Iterable[Timed[EventData]], kind: type[D]) -> list[Timed[D]]:
    """The events of one kind, in their order."""
    return [Timed(each.t_ns, each.mono_ns, each.data) for each in events if isinstance(each.data, kind)]


def shown(data: EventData) -> dict[str, Any]:
    """The fields of an event that have a value, as its line holds them."""
    found: dict[str, Any] = msgspec.to_builtins(data)
    return found["lines"] if isinstance(data, EvidenceCounted) else found
