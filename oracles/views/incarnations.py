"""The lives of the server in a run: which ends were a fault's doing, by evidence, and when none served.

A death that a fault of the plan caused is no violation. One that it cannot have caused still is: another
process, another time, or another exit code than the fault gives.
"""

from __future__ import annotations

from dataclasses import dataclass

from history.events import ServerExit, ServerReady, ServerStart, Timed
from history.fired_fault import Outage
from history.protocol.outside import Ended
from history.reader import History, per_history
from history.records import FaultRecord

OUTSIDE = "outside"
"""Role of the journal that the conductor writes of its own faults."""
KILLED = (-9, 137)
"""Exit codes of SIGKILL, as a parent sees it and as a container tells it."""
STOPPED = (0, -15, 143)
"""Exit codes of a server that obeyed SIGTERM."""
FOR_EVER = float("inf")
WITHOUT_ENGINE = ("engine_kill", "memory_squeeze")
"""The server may end of these in its own way, or is ended when the fault is undone."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of the server: from a start to the next."""

    number: int
    """Number of the incarnation, from 0."""
    start_ns: int
    log_start: int
    """Lines that the server's log had before."""
    exit: Timed[ServerExit] | None
    """None where no event has its end: the last incarnation, which the conductor stops."""
    cause: FaultRecord | None
    """The strike that its end came of."""


@per_history
def incarnations(history: History) -> list[Incarnation]:
    """The incarnations in order of time; empty when the server was never started."""
    starts = history.events_of(ServerStart)
    exits = history.events_of(ServerExit)
    found: list[Incarnation] = []
    for number, start in enumerate(starts):
        until_ns = starts[number + 1].t_ns if number + 1 < len(starts) else FOR_EVER
        end = next((event for event in exits if start.t_ns <= event.t_ns <= until_ns), None)
        cause = _cause(history, start, end) if end is not None else None
        found.append(Incarnation(number, start.t_ns, start.data.log_line or 0, end, cause))
    return found


def deaths(history: History) -> list[Timed[ServerExit]]:
    """Ends of the server that no fault of the plan accounts for."""
    accounted = [life.exit for life in incarnations(history) if life.cause is not None]
    return [event for event in history.events_of(ServerExit) if event not in accounted]


@per_history
def outages(history: History) -> list[Outage]:
    """Outages that faults planned, in order of time, also where the server did not end."""
    every_incarnation = incarnations(history)
    found = []
    for line in history.faults:
        ended = ending(line)
        if ended is None or ended.begun_ns is None:
            continue
        begun_ns = ended.begun_ns
        after = next((life for life in every_incarnation if life.start_ns > begun_ns), None)
        found.append(
            Outage(
                cause=line,
                since_ns=begun_ns,
                until_ns=None if after is None else _served_ns(history, after),
                log_from=ended.log_line or 0,
                log_to=None if after is None else after.log_start,
            )
        )
    return found


def outage_at(history: History, begin_ns: int, end_ns: int) -> Outage | None:
    """The first outage in which something was under way that lasted from one time to another."""
    return next((outage for outage in outages(history) if outage.covers(begin_ns, end_ns)), None)


def ending(line: FaultRecord) -> Ended | None:
    """What a strike shows that a life of the server was to end of; None for other lines."""
    if line.event != "fired" or line.role != OUTSIDE:
        return None
    firing = line.firing
    return firing if isinstance(firing, Ended) else None


def _cause(history: History, start: Timed[ServerStart], end: Timed[ServerExit]) -> FaultRecord | None:
    for line in history.faults:
        ended = ending(line)
        if ended is None or ended.begun_ns is None:
            continue
        same = ended.pid == start.data.pid == end.data.pid
        if same and start.t_ns <= ended.begun_ns <= end.t_ns and _fits(line, ended, end.data.code):
            return line
    return None


def _fits(line: FaultRecord, ended: Ended, code: int) -> bool:
    """Whether an exit code is what such a strike gives."""
    if line.kind in WITHOUT_ENGINE:
        return True
    if line.kind == "stop" and not ended.forced:
        return code in STOPPED
    return code in KILLED


def _served_ns(history: History, life: Incarnation) -> int | None:
    ready = (event.t_ns for event in history.events_of(ServerReady) if event.t_ns >= life.start_ns)
    return next(ready, None)
