"""Is a server at work again in time after its faults are healed? Progress is owed from there on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from history.reader import History
from history.records import Event, RequestRecord
from history.verdict import Witness
from oracles.findings import Findings
from oracles.lives import deaths
from oracles.timeline import NS_PER_S, end_ns


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of a server after a healing."""

    healed: Event
    asked: bool
    """Whether anything was sent afterwards."""
    seconds: float | None
    """From healing to the first whole answer to what was sent afterwards; None when there was none."""


def recoveries(history: History) -> Iterator[Recovery]:
    """One for each healing that the server confirmed. A dead server owes nothing more."""
    if deaths(history):
        return
    by_start = sorted(history.requests, key=lambda record: record.start_ns, reverse=True)
    healings = [event for event in history.events_of("healed") if event.data.get("confirmed") is True]
    # Backwards through time, so that each request is looked at once.
    place = 0
    first_ns: int | None = None
    found: list[Recovery] = []
    for event in sorted(healings, key=lambda event: event.t_ns, reverse=True):
        while place < len(by_start) and by_start[place].start_ns >= event.t_ns:
            first_ns = _earlier(first_ns, by_start[place])
            place += 1
        seconds = None if first_ns is None else (first_ns - event.t_ns) / NS_PER_S
        found.append(Recovery(event, place > 0, seconds))
    yield from reversed(found)


def judge_recoveries(history: History, found: Findings) -> Sequence[float]:
    """Each came within its deadline; returns the seconds that they took."""
    deadline_s = history.plan.scenario.limits.recover_s
    took: list[float] = []
    for recovery in recoveries(history):
        where = f"after healing in phase {recovery.healed.data.get('phase')}"
        if not recovery.asked:
            found.gap(f"{where} nothing was asked")
            continue
        found.checked += 1
        if recovery.seconds is None:
            found.violation(Witness(text=f"{where} no request was answered", t_ns=recovery.healed.t_ns))
            continue
        took.append(recovery.seconds)
        if recovery.seconds > deadline_s:
            late = f"{where} the first answer took {recovery.seconds:.1f} s, {deadline_s:g} allowed"
            found.violation(Witness(text=late, t_ns=recovery.healed.t_ns))
    return took


def _earlier(first_ns: int | None, record: RequestRecord) -> int | None:
    if record.outcome != "ok":
        return first_ns
    return end_ns(record) if first_ns is None else min(first_ns, end_ns(record))
