"""Was a fault delivered as often as its trigger asks, and did it have the effect it should?

For each kind of fault one check, of what the server or the client shows, not the injector: did the server
take the intended path? A run whose faults were not delivered did not prove its purpose.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from chaos.fault_catalogue import KINDS, ORIGINS
from history.events import PhaseEnd
from history.fired_fault import Doubt, FaultWindow, FiredFault, Outage
from history.protocol.evidence import Evidence, Refused
from history.protocol.extensions import OWN, ForeignCode
from history.protocol.outside import Ended
from history.reader import History
from history.records import FaultRecord, RequestRecord
from history.scenario import FaultSpec
from oracles.answer_comparison import compared
from oracles.views.damage_spread import may_differ
from oracles.views.incarnations import deaths, ending, outages
from oracles.views.struck_requests import RequestsInFlight, by_name, fault_window, given_up, reverting_line
from oracles.views.timeline import lines_before_stop


@dataclass(frozen=True)
class JudgedFault(FiredFault):
    """The interface of `history`, by the views of the oracles."""

    @cached_property
    def _named(self) -> dict[str, list[RequestRecord]]:
        return by_name(self.fired, self.history.requests)

    @cached_property
    def _in_flight(self) -> RequestsInFlight:
        return RequestsInFlight(self.history.requests)

    def requests_named(self, name: str | None) -> list[RequestRecord]:
        """The requests that a firing names, choices and retries included; none for None."""
        return self._named[name] if name is not None else []

    def in_flight_at(self, t_ns: int) -> list[RequestRecord]:
        """Requests in flight at a time, wall clock ns."""
        return self._in_flight.at(t_ns)

    def log_lines(self, pattern: re.Pattern[str]) -> int:
        """How many lines of the server's log match, up to its intended stop."""
        return sum(pattern.search(line) is not None for line in lines_before_stop(self.history))

    def server_died_after(self, t_ns: int) -> bool:
        """Whether the server died at `t_ns` (wall clock ns) or later."""
        return any(event.t_ns >= t_ns for event in deaths(self.history))

    def different_answers(self) -> list[RequestRecord]:
        """Requests whose answer differs from the golden one."""
        return [comparison.record for comparison in compared(self.history).different]

    def readers(self) -> set[str] | None:
        """Ids of the requests that can have read damage; None without a provenance log."""
        return may_differ(self.history, self.fired)

    def abandoned(self) -> Collection[str]:
        """Ids of the requests that their client gave up."""
        return given_up(self.history).keys()

    def window(self, line: FaultRecord) -> FaultWindow:
        """When the injection of a firing was in force."""
        return fault_window(self.history, line)

    def reverted(self, line: FaultRecord) -> Evidence | None:
        """What the injector recorded when it reverted a firing; None when no line says so."""
        end = reverting_line(self.history, line)
        return None if end is None else end.reverted

    def ending(self, line: FaultRecord) -> Ended | None:
        """How the firing ended an incarnation; None when it ended none."""
        return ending(line)

    def outages(self) -> Sequence[Outage]:
        """The times in which a fault left no server running."""
        return outages(self.history)


def missing_effect(
    history: History, fault: FaultSpec, fired: list[FaultRecord], phases: set[str]
) -> Doubt | None:
    """None when the fault had its effect, else the reason to doubt it."""
    kind = KINDS.get(fault.kind)
    if kind is None:
        return Doubt("no-sign", f"no check of its effect is known for {fault.kind}")
    windows = [phase for phase in history.phases() if phase.spec.name in phases]
    case = JudgedFault(history, fault, fired, windows)
    if ORIGINS[fault.kind] == OWN:
        return kind.check(case)
    origin = ORIGINS[fault.kind]
    with ForeignCode() as code:
        doubt: object = kind.check(case)
        if doubt is None or isinstance(doubt, Doubt):
            return doubt
        return Doubt("check-crashed", f"the check of {origin} returned a {type(doubt).__name__} and no Doubt")
    return Doubt("check-crashed", f"the check of {origin} could not judge it: {code.error}")


AS_PLANNED = ("dry-run", "healed-first")
"""Reasons of refusals that the plan brings: a parameter, and the end of the phase."""
SHOWN = 10
"""Most invocations that a text names."""


def undelivered(history: History, fault: FaultSpec, fired: Sequence[FaultRecord]) -> Iterator[Doubt]:
    """What is missing of the strikes of a fault, `fired` being those with effect.

    Each arrival that the trigger names in `nth` must be struck. Triggers that choose by a rate strike as
    often as there is something to strike, but refuse no more than they strike.
    """
    lines = [line for line in history.faults if line.fault == fault.id]
    refused = [(line.n, line.refusal) for line in lines]
    refusals = [(n, why) for n, why in refused if why is not None and n is not None]
    if fault.trigger.nth is not None:
        yield from _by_number(history, fault, {line.n for line in fired}, refusals)
    else:
        yield from _by_rate(fault, len(fired), refusals)
    yield from _lost_lines(fault, lines)


def _by_number(
    history: History, fault: FaultSpec, struck: set[int | None], refusals: Sequence[tuple[int, Refused]]
) -> Iterator[Doubt]:
    due = sorted(set(fault.trigger.nth or ()))[: fault.trigger.limit]
    reasons = {n: why.reason for n, why in refusals if why.reason != "dry-run"}
    refused = [n for n in due if n not in struck and n in reasons]
    if refused:
        why = ", ".join(sorted({reasons[n] for n in refused}))
        yield _doubt("strikes-refused", fault, len(due), refused, f"refused ({why})")
    absent = [n for n in due if n not in struck and n not in reasons]
    if absent and _ran_to_its_end(history, fault) and not any(why.reason == "dry-run" for _, why in refusals):
        yield _doubt("strikes-missing", fault, len(due), absent, "not made, since too few invocations came")


def _by_rate(fault: FaultSpec, fired: int, refusals: Sequence[tuple[int, Refused]]) -> Iterator[Doubt]:
    refused = Counter(why.reason for _, why in refusals if why.reason not in AS_PLANNED)
    if refused.total() > fired:
        why = ", ".join(sorted(refused))
        injections = f"{refused.total()} of {fired + refused.total()} injections of fault {fault.id}"
        text = f"{injections} were refused ({why})"
        yield Doubt("strikes-refused", text, {"fired": fired, "refused": refused.total()})


def _doubt(kind: str, fault: FaultSpec, due: int, missing: Sequence[int], why: str) -> Doubt:
    named = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
    text = f"{len(missing)} of {due} planned injections of fault {fault.id} were {why}: invocation {named}"
    return Doubt(kind, text, {"planned": due, "missing": len(missing)})


def _ran_to_its_end(history: History, fault: FaultSpec) -> bool:
    """Whether the phase of the fault did. One that was cut short owes no more arrivals."""
    phase = history.plan.scenario.phase_of(fault)
    return any(
        event.data.phase == phase and event.data.reason == "done" for event in history.events_of(PhaseEnd)
    )


def _lost_lines(fault: FaultSpec, lines: Sequence[FaultRecord]) -> Iterator[Doubt]:
    """Each process counts its firings when it is healed: so many lines its journal must have."""
    counted: dict[int, int] = defaultdict(int)
    noted: Counter[int] = Counter()
    for line in lines:
        if line.healed is not None:
            counted[line.pid] += line.healed.fired
        late = line.refusal is not None and line.refusal.reason == "healed-first"
        noted[line.pid] += line.event == "fired" or late
    for pid, count in counted.items():
        if noted[pid] < count:
            text = (
                f"process {pid} counts {count} firings of fault {fault.id}, but its journal has {noted[pid]}"
            )
            yield Doubt("firings-lost", text, {"counted": count, "noted": noted[pid]})
