"""Is a server at work again in time after its faults are healed? Progress is owed from there on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from history.events import FaultsHealed, Timed
from history.reader import History
from history.records import RequestRecord
from history.verdict import phase
from oracles.findings import Findings
from oracles.inputs import EVENTS, REQUESTS
from oracles.rule import Rule
from oracles.views.incarnations import deaths
from oracles.views.timeline import NS_PER_S, end_ns

NOTHING_SENT = "no request was sent after healing"
NO_RECOVERY = Rule(
    "progress/no-recovery",
    "After faults are healed a request is answered.",
    "scenario",
    (EVENTS, REQUESTS),
    NOTHING_SENT,
)
SLOW_RECOVERY = Rule(
    "progress/slow-recovery",
    "After faults are healed the first answer comes within the scenario's `recover_s`.",
    "scenario",
    (EVENTS, REQUESTS),
    NOTHING_SENT,
)
RULES = (NO_RECOVERY, SLOW_RECOVERY)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of a server after a healing."""

    healed: Timed[FaultsHealed]
    was_loaded: bool
    """Whether anything was sent afterwards."""
    seconds: float | None
    """From healing to the first whole answer to what was sent afterwards; None when there was none."""
    by_cache: bool | None
    """Whether any whole answer to the load that was sent afterwards came with the help of the cache, by its
    usage; None where none tells, or no load was answered."""


def recoveries(history: History) -> Iterator[Recovery]:
    """One for each healing that the server confirmed. A dead server owes nothing more."""
    if deaths(history):
        return
    by_start = sorted(history.requests, key=lambda record: record.start_ns, reverse=True)
    healings = [event for event in history.events_of(FaultsHealed) if event.data.confirmed]
    # Backwards through time, so that each request is looked at once.
    index = 0
    first_ns: int | None = None
    by_cache: bool | None = None
    load = {phase.name for phase in history.plan.scenario.phases}
    found: list[Recovery] = []
    for event in sorted(healings, key=lambda event: event.t_ns, reverse=True):
        while index < len(by_start) and by_start[index].start_ns >= event.t_ns:
            first_ns = _earlier(first_ns, by_start[index])
            by_cache = _used_cache(by_cache, by_start[index], load)
            index += 1
        seconds = None if first_ns is None else (first_ns - event.t_ns) / NS_PER_S
        found.append(Recovery(event, index > 0, seconds, by_cache))
    yield from reversed(found)


def judge_recoveries(history: History, found: Findings) -> Sequence[float]:
    """Each came within its deadline; returns the seconds that they took."""
    deadline_s = history.plan.scenario.limits.recover_s
    took: list[float] = []
    for recovery in recoveries(history):
        name, healed_ns = recovery.healed.data.phase, recovery.healed.t_ns
        where = f"after healing in phase {name}"
        if not recovery.was_loaded:
            found.gap("nothing-sent", f"{where} nothing was asked", phase(name))
            continue
        found.checked += 1
        if recovery.seconds is None:
            found.violation(NO_RECOVERY, phase(name), f"{where} no request was answered", t_ns=healed_ns)
            continue
        took.append(recovery.seconds)
        if recovery.by_cache is False and history.plan.scenario.server.offload:
            found.gap("recovery-without-cache", f"{where} no answer came from the cache", phase(name))
        if recovery.seconds > deadline_s:
            late = f"{where} the first answer took {recovery.seconds:.1f} s, {deadline_s:g} allowed"
            figures = {"seconds": recovery.seconds, "bound": deadline_s}
            found.violation(SLOW_RECOVERY, phase(name), late, figures=figures, t_ns=healed_ns)
    return took


def _earlier(first_ns: int | None, record: RequestRecord) -> int | None:
    if record.outcome != "ok":
        return first_ns
    return end_ns(record) if first_ns is None else min(first_ns, end_ns(record))


def _used_cache(so_far: bool | None, record: RequestRecord, load: set[str]) -> bool | None:
    """Whether this answer, or one before it, came with the help of the cache."""
    usage = record.usage
    if record.outcome != "ok" or record.phase not in load or usage is None or usage.cached_tokens is None:
        return so_far
    return bool(so_far) or usage.cached_tokens > 0
