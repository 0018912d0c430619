"""Did the planned faults, and no others, fire with effect?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from history.events import FaultsArmed, FaultsHealed, ServerExit
from history.protocol.evidence import ContentDamaged, CopyDelayed, CopyFired, Direction, LoadBlocksFailed
from history.reader import History
from history.records import FaultRecord
from history.scenario import FaultSpec
from history.verdict import OracleResult, process
from history.verdict import fault as fault_subject
from oracles.effects.checks import missing_effect, undelivered
from oracles.findings import EVENTS, FAULTS, LOG, METRICS, REQUESTS, Findings, Oracle, Rule
from oracles.views.incarnations import OUTSIDE, incarnations
from oracles.views.struck_requests import by_name
from oracles.views.timeline import NS_PER_S

NAME = "faults-fired"
NS_PER_MS = 1_000_000
SLACK_NS = NS_PER_S
"""Arming and healing reach the server a little after, or before, the conductor writes them down."""


NO_JOURNAL = "a process has no fault journal"
UNPLANNED = Rule("faults-fired/unplanned", "Only faults of the plan fire.", "scenario", (FAULTS,), NO_JOURNAL)
NOT_ARMED = Rule(
    "faults-fired/not-armed",
    "A fault fires only while it is armed.",
    "scenario",
    (FAULTS, EVENTS),
    NO_JOURNAL,
)
OVER_LIMIT = Rule(
    "faults-fired/over-limit",
    "Each time that a fault is armed, it fires in a process at most as often as its limit.",
    "scenario",
    (FAULTS, EVENTS),
    NO_JOURNAL,
)
RULES = (UNPLANNED, NOT_ARMED, OVER_LIMIT)


@dataclass(slots=True)
class Arming:
    """One stretch in which faults were armed."""

    start_ns: int
    phase: str
    faults: frozenset[str]
    end_ns: int | None = None
    """When the conductor had healed them; None when it never did."""
    confirmed: bool = False
    fired: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    """Firings by fault and server process."""

    def covers(self, record: FaultRecord) -> bool:
        """Whether a firing, less its own delay, lies in this stretch; `SLACK_NS` late is allowed."""
        struck_ns = record.t_ns - delay_ns(record)
        late = self.end_ns is not None and struck_ns > self.end_ns + SLACK_NS
        return record.fault in self.faults and self.start_ns - SLACK_NS <= struck_ns and not late


def judge(history: History) -> OracleResult:
    """Judge each planned fault: armed, fired with evidence, effective and healed, otherwise unknown.

    A firing that the plan does not allow is a violation.
    """
    found = Findings(NAME)
    fired = [record for record in history.faults if record.event == "fired"]
    armings = armings_of(history)
    limits = {fault.id: fault.trigger.limit for fault in history.plan.scenario.faults}
    unnoted = _unnoted(history, armings) & limits.keys()
    for name in sorted(unnoted):
        text = f"a journal shows that fault {name} was armed, but no event does"
        found.gap("arming-lost", text, fault_subject(name))
    for record in fired:
        if record.fault not in unnoted:
            _judge_firing(record, limits, armings, found)
    _judge_journals(history, fired, found)
    settings, planned = history.plan.scenario.server, history.plan.scenario.faults
    if settings.offload and settings.chaos and all(record.role == OUTSIDE for record in history.faults):
        found.gap(
            "no-journal", "the chaos module left no journal, in which it writes a line when it is loaded"
        )
    for pid in _without_journal(history):
        text = f"process {pid} of the server left a ledger but no fault journal"
        found.gap("process-without-journal", text, figures={"pid": pid})
    if not planned:
        found.checked += 1
        return found.result("no fault was planned, and none fired", planned=0)
    by_fault: dict[str, list[FaultRecord]] = defaultdict(list)
    for record in fired:
        if record.fault is not None and is_real(record):
            by_fault[record.fault].append(record)
    for fault in planned:
        found.checked += 1
        _judge_fault(history, fault, by_fault[fault.id], armings, found)
    fired_by = {fault.id: len(by_fault[fault.id]) for fault in planned}
    firings = ", ".join(f"{name} {times} times" for name, times in fired_by.items())
    passed = f"each fault fired with effect and was healed: {firings}"
    return found.result(passed, planned=len(planned), fired=sum(fired_by.values()))


def _unnoted(history: History, armings: list[Arming]) -> set[str]:
    """Faults that a process notes as armed, though no event says so: the events are lost."""
    noted = {name for arming in armings for name in arming.faults}
    return {line.fault for line in history.faults if line.event == "armed" and line.fault} - noted


def _without_journal(history: History) -> list[int]:
    """Processes of the chaos module whose journals are missing: each begins one before its ledger."""
    loaded = {record.pid for record in history.faults if record.event == "loaded"}
    return sorted({record.pid for record in history.ledger} - loaded) if loaded else []


def is_real(record: FaultRecord) -> bool:
    """Whether a firing really changed something."""
    match record.firing:
        case ContentDamaged(bytes_changed=changed):
            return changed > 0
        case LoadBlocksFailed(blocks=blocks):
            return bool(blocks)
        case _:
            return True


def direction_of(record: FaultRecord) -> Direction | None:
    """Direction of the copy that a firing is about; None where it is about none."""
    match record.firing:
        case CopyFired(direction=direction) | ContentDamaged(direction=direction):
            return direction
        case _:
            return None


def delay_ns(record: FaultRecord) -> int:
    """How long before its line a delayed copy was struck, ns.

    The line is written when the copy starts, maybe after healing.
    """
    delayed = record.firing if record.kind == "copy_delay" else None
    return int(delayed.ms * NS_PER_MS) if isinstance(delayed, CopyDelayed) else 0


def armings_of(history: History) -> list[Arming]:
    """The stretches in which faults were armed, in order of time, by the conductor's events."""
    armings: list[Arming] = []
    for event in history.timed:
        match event.data:
            case FaultsArmed(phase=phase, faults=faults):
                armings.append(Arming(event.t_ns, phase, frozenset(faults)))
            case FaultsHealed(faults=faults, confirmed=confirmed):
                for arming in armings:
                    if arming.end_ns is None and arming.faults <= set(faults):
                        arming.end_ns, arming.confirmed = event.t_ns, confirmed
    return armings


def _judge_firing(
    record: FaultRecord, limits: dict[str, int | None], armings: list[Arming], found: Findings
) -> None:
    fault = record.fault
    if fault is None or fault not in limits:
        _violation(found, UNPLANNED, record, f"fault {fault} fired but is not in the plan")
        return
    arming = next((arming for arming in armings if arming.covers(record)), None)
    if arming is None:
        _violation(found, NOT_ARMED, record, f"fault {fault} fired while it was not armed")
        return
    arming.fired[fault, record.pid] += 1
    limit = limits[fault]
    if limit is not None and arming.fired[fault, record.pid] == limit + 1:
        text = f"fault {fault} fired more often than its limit of {limit}"
        _violation(found, OVER_LIMIT, record, text, limit=limit)


def _judge_fault(
    history: History, fault: FaultSpec, fired: list[FaultRecord], armings: list[Arming], found: Findings
) -> None:
    mine, subject = [arming for arming in armings if fault.id in arming.faults], fault_subject(fault.id)
    if not mine:
        found.gap("never-armed", f"fault {fault.id} was never armed", subject)
        return
    if not fired:
        found.gap("never-fired", f"fault {fault.id} was armed but never fired with effect", subject)
        return
    doubt = missing_effect(history, fault, fired, {arming.phase for arming in mine})
    if doubt is not None:
        text = f"fault {fault.id} fired {len(fired)} times, but {doubt}"
        found.gap(doubt.kind, text, subject, figures=doubt.figures)
    for missing in undelivered(history, fault, fired):
        found.gap(missing.kind, missing.text, subject, figures=missing.figures)
    if not all(arming.confirmed for arming in mine):
        found.gap("not-healed", f"nothing confirms that fault {fault.id} was healed", subject)


def _violation(found: Findings, rule: Rule, record: FaultRecord, what: str, **figures: int) -> None:
    text = f"{what}: {record.kind} at {record.site}, invocation {record.n}, process {record.pid}"
    subject = fault_subject(record.fault)
    found.violation(rule, subject, text, figures=figures, t_ns=record.t_ns, example=record.request)


def _judge_journals(history: History, fired: Sequence[FaultRecord], found: Findings) -> None:
    """Judge whether the journals with firings agree with themselves and with what was sent.

    A journal that does not has lost lines, so the effects of its faults are unknown.
    """
    _whole(history, fired, found)
    _repeated(fired, found)
    sites = {(line.pid, line.fault): line.site for line in history.faults if line.event == "armed"}
    meant = by_name(fired, history.requests)
    for line in fired:
        armed_at = sites.get((line.pid, line.fault))
        if armed_at is not None and line.site != armed_at:
            _gap(found, "other-site", line, f"fired at {line.site} but was armed at {armed_at}")
        if not line.evidence:
            _gap(found, "no-evidence", line, "fired without evidence")
        if line.request is not None and not meant[line.request]:
            _gap(found, "unknown-request", line, f"struck request {line.request}, which has no record")


def _whole(history: History, fired: Sequence[FaultRecord], found: Findings) -> None:
    """A process notes when the module is loaded, when faults are armed, and, if it lives, healed."""
    noted: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in history.faults:
        noted[line.role, line.pid].add(line.event)
    lived = len(incarnations(history)) == 1 and not history.events_of(ServerExit)
    for role, pid in sorted({(line.role, line.pid) for line in fired}):
        due = {"armed", *(() if role == OUTSIDE else ("loaded",)), *(("healed",) if lived else ())}
        others = noted[role, pid] - {"fired"}
        for event in sorted(due - others) if others else ():
            text = f"the fault journal of {role} {pid} has firings but no line of the event {event}"
            found.gap(f"journal-without-{event}", text, process(role, pid))


def _repeated(fired: Sequence[FaultRecord], found: Findings) -> None:
    counts = Counter((line.pid, line.fault, line.site, line.n) for line in fired if line.n is not None)
    for (pid, fault, _, number), count in counts.items():
        if count > 1:
            text = f"process {pid}: fault {fault} fired {count} times at its invocation {number}"
            found.gap("line-repeated", text, fault_subject(fault), figures={"lines": count})


def _gap(found: Findings, kind: str, line: FaultRecord, what: str) -> None:
    text = f"fault {line.fault} {what}: {line.kind}, invocation {line.n}, process {line.pid}"
    found.gap(kind, text, fault_subject(line.fault))


ORACLE = Oracle(
    NAME,
    "the planned faults, and no others, fired with effect",
    (FAULTS, EVENTS, METRICS, REQUESTS, LOG),
    judge,
    RULES,
)
