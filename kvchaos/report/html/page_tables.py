"""Tables of the page: the steps of each fault, and the phases before, during and after the faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from chaos.fault_catalogue import KINDS, ORIGINS
from history.events import FaultsHealed
from history.phase_spec import Role
from history.protocol.extensions import OWN
from history.reader import History, PhaseWindow
from history.records import FaultRecord, RequestRecord
from history.scenario import FaultSpec, Trigger
from history.verdict import FaultEffect
from kvchaos.report.history_tables import PhaseLatency, phase_latencies
from kvchaos.report.html.axis import NO_VALUE, TimeAxis, seconds
from kvchaos.report.html.backdrop import Backdrop, FaultBand
from loadtests.workloads import ORIGINS as WORKLOAD_ORIGINS
from oracles.effects.checks import missing_effect
from oracles.faults_fired import armings_of, is_real
from oracles.speed import Speed, speeds
from oracles.views.timeline import NS_PER_S, by_phase

MAX_FIRINGS = 20


@dataclass(frozen=True, slots=True)
class FaultStep:
    """One step of a fault: whether it was observed, and by which evidence."""

    observed: bool
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A fault with its steps and the evidence of its first firings."""

    band: FaultBand
    contract: str
    effect: str
    """What such a fault does."""
    wanted: str
    """What must come of it."""
    trigger: str
    steps: list[FaultStep]
    firings: list[str]
    more: int


def fault_rows(history: History, drop: Backdrop, effects: Sequence[FaultEffect] = ()) -> list[FaultRow]:
    """One row a fault of the plan. `effects` are those of the verdict."""
    bands = {band.id: band for band in drop.faults}
    return [
        _row(history, fault, bands[fault.id], drop.axis, [each for each in effects if each.fault == fault.id])
        for fault in history.plan.scenario.faults
    ]


def _row(
    history: History, fault: FaultSpec, band: FaultBand, axis: TimeAxis, effects: Sequence[FaultEffect]
) -> FaultRow:
    kind = KINDS.get(fault.kind)
    fired = [record for record in history.faults if record.event == "fired" and record.fault == fault.id]
    real = [record for record in fired if is_real(record)]
    return FaultRow(
        band=band,
        contract=_contract(fault.kind),
        effect=kind.effect if kind else "",
        wanted=kind.consequence if kind else "",
        trigger=trigger_text(fault.trigger),
        steps=[
            _armed(band),
            _fired(fired, real),
            *_raised(history, fault),
            _consequential(history, fault, real),
            _healed(history, fault),
            *map(_declared, effects),
        ],
        firings=[_firing(record, axis) for record in fired[:MAX_FIRINGS]],
        more=max(len(fired) - MAX_FIRINGS, 0),
    )


def _contract(kind: str) -> str:
    """The contract of a kind, and its package where that is another one than the suite."""
    known = KINDS.get(kind)
    if known is None:
        return ""
    return known.contract if ORIGINS[kind] == OWN else f"{known.contract}, from {ORIGINS[kind]}"


def _armed(band: FaultBand) -> FaultStep:
    if not band.armed:
        return FaultStep(observed=False, name="never armed", detail="there is no event of it")
    detail = ", ".join(f"{one.since_s:.2f} to {one.until_s:.2f} s" for one in band.armed)
    return FaultStep(observed=True, name="armed", detail=detail)


def _fired(fired: list[FaultRecord], real: list[FaultRecord]) -> FaultStep:
    idle = f"{len(fired) - len(real)} firings without effect"
    if not real:
        return FaultStep(
            observed=False, name="never fired", detail=idle if fired else "no line in the journals"
        )
    detail = "once" if len(real) == 1 else f"{len(real)} times"
    return FaultStep(
        observed=True, name="fired", detail=f"{detail}, and {idle}" if len(fired) > len(real) else detail
    )


def _raised(history: History, fault: FaultSpec) -> Iterator[FaultStep]:
    """An error of the fault's own code, where that is of another package."""
    refusals = [line.refusal for line in history.faults if line.fault == fault.id]
    errors = [refusal.detail for refusal in refusals if refusal and refusal.reason == "fault-raised"]
    if errors:
        yield FaultStep(observed=False, name=f"raised {len(errors)} times", detail=errors[0])


def _consequential(history: History, fault: FaultSpec, real: list[FaultRecord]) -> FaultStep:
    """Decided by the same effect checks as the oracle uses."""
    if not real:
        return FaultStep(observed=False, name="no consequence", detail="since it never fired")
    phases = {arming.phase for arming in armings_of(history) if fault.id in arming.faults}
    doubt = missing_effect(history, fault, real, phases)
    if doubt is not None:
        return FaultStep(observed=False, name="no consequence", detail=doubt.text)
    return FaultStep(observed=True, name="had its consequence", detail="the server or a client shows it")


def _healed(history: History, fault: FaultSpec) -> FaultStep:
    ends = [event.data for event in history.events_of(FaultsHealed) if fault.id in event.data.faults]
    if not all(end.confirmed for end in ends) or not ends:
        return FaultStep(
            observed=False, name="not healed", detail="not confirmed" if ends else "there is no event of it"
        )
    by = ", ".join(sorted({end.by or "journal" for end in ends}))
    return FaultStep(observed=True, name="healed", detail=f"confirmed by {by}")


def _declared(effect: FaultEffect) -> FaultStep:
    """Whether the findings came that the fault was declared to bring."""
    if effect.missing:
        return FaultStep(observed=False, name="lacks its declared effect", detail=" or ".join(effect.rules))
    detail = ", ".join(f"{rule} ({count})" for rule, count in effect.explains.items())
    return FaultStep(
        observed=True, name="explains", detail=detail or f"no finding of {' or '.join(effect.rules)}"
    )


def trigger_text(trigger: Trigger) -> str:
    """The trigger of a fault as text."""
    conditions = (
        f"each invocation with probability {trigger.probability:g}" if trigger.probability else "",
        f"invocation {', '.join(map(str, trigger.nth))}, counted from 0" if trigger.nth is not None else "",
        _every(trigger.every, trigger.offset) if trigger.every else "",
        f"a share of {trigger.key_share:g} of all blocks" if trigger.key_share else "",
        f"at most {trigger.limit} times" if trigger.limit is not None else "",
        f"of requests in {', '.join(trigger.states)}" if trigger.states else "",
    )
    return ", ".join(condition for condition in conditions if condition)


def _every(every: int, offset: int) -> str:
    text = "every invocation" if every == 1 else f"one invocation of {every}"
    return f"{text}, the first at {offset}" if offset else text


def _firing(record: FaultRecord, axis: TimeAxis) -> str:
    where = f"{axis.seconds(record.t_ns):.3f} s: {record.role}, {record.site}, invocation {record.n}"
    whom = f", request {record.request}" if record.request else ""
    evidence = ", ".join(f"{key} {_short(value)}" for key, value in record.evidence.items())
    return f"{where}{whom}" + (f" ({evidence})" if evidence else "")


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One measure, a cell a phase."""

    name: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class PhaseColumn:
    """A phase, and whether it lies before, during or after the faults; empty where there are none."""

    when: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class PhaseTable:
    """A column a phase that began."""

    columns: list[PhaseColumn]
    rows: list[PhaseRow]
    with_faults: bool


def phase_table(history: History) -> PhaseTable:
    """Latency as in summary.md, the rest as the oracle for performance has it."""
    found = speeds(history)
    windows = [speed.window for speed in found]
    with_faults = any(one.spec.role == "chaos" for one in windows)
    return PhaseTable(
        columns=[
            PhaseColumn(speed.stage if with_faults else "", speed.name, speed.window.spec.role)
            for speed in found
        ],
        rows=[
            PhaseRow("workload", [_workload(history, one) for one in windows]),
            PhaseRow("lasted", [seconds((one.end_ns - one.start_ns) / NS_PER_S) for one in windows]),
            PhaseRow("arrival process, concurrency", [_load(one) for one in windows]),
            PhaseRow(
                "requests ok / failed / aborted",
                [_outcomes(by_phase(history).get(one.spec.name, [])) for one in windows],
            ),
            *_latency_rows(phase_latencies(history)),
            PhaseRow("ITL", [str(speed.itl) for speed in found]),
            PhaseRow("answered tokens a second", [_rate(speed) for speed in found]),
        ],
        with_faults=with_faults,
    )


def _latency_rows(latencies: Sequence[PhaseLatency]) -> list[PhaseRow]:
    return [
        PhaseRow("TTFT", [str(one.ttft) for one in latencies]),
        PhaseRow("TTFT from send", [str(one.ttft_from_send) for one in latencies]),
        PhaseRow("E2EL", [str(one.e2el) for one in latencies]),
        PhaseRow("E2EL from send", [str(one.e2el_from_send) for one in latencies]),
    ]


def _outcomes(records: Iterable[RequestRecord]) -> str:
    counts = Counter(record.outcome for record in records)
    return f"{counts['ok']} / {counts['error'] + counts['unknown']} / {counts['aborted']}"


def _workload(history: History, window: PhaseWindow) -> str:
    """The kind of workload of a phase, and its package where that is another one than the suite."""
    kind = history.plan.scenario.workloads[window.spec.workload].kind
    origin = WORKLOAD_ORIGINS.get(kind, OWN)
    return kind if origin == OWN else f"{kind}, from {origin}"


def _load(window: PhaseWindow) -> str:
    return f"{window.spec.arrivals.kind}, {window.spec.concurrency}"


def _rate(speed: Speed) -> str:
    return NO_VALUE if speed.tokens_per_s is None else f"{speed.tokens_per_s:.0f}"
