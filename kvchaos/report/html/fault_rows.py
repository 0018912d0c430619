"""What became of each fault of the plan: armed, fired, consequential, healed."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.inside.faults import KINDS
from history.plan import FaultSpec, Trigger
from history.reader import History
from history.records import FaultRecord
from kvchaos.report.html.axis import TimeAxis
from kvchaos.report.html.backdrop import Backdrop, FaultBand
from oracles.consequence import consequence
from oracles.faults import is_real

MOST_FIRINGS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """Whether one step was seen, and what tells so."""

    seen: bool
    told: str


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
    steps: dict[str, Step]
    firings: list[str]
    more: int


def fault_rows(history: History, drop: Backdrop) -> list[FaultRow]:
    """One row a fault of the plan."""
    bands = {band.id: band for band in drop.faults}
    return [_row(history, fault, bands[fault.id], drop.axis) for fault in history.plan.scenario.faults]


def _row(history: History, fault: FaultSpec, band: FaultBand, axis: TimeAxis) -> FaultRow:
    kind = KINDS.get(fault.kind)
    fired = [record for record in history.faults if record.event == "fired" and record.fault == fault.id]
    real = [record for record in fired if is_real(record)]
    return FaultRow(
        band=band,
        contract=kind.contract if kind else "",
        effect=kind.effect if kind else "",
        wanted=kind.consequence if kind else "",
        trigger=trigger_text(fault.trigger),
        steps={
            "armed": _armed(band),
            "fired": _fired(fired, real),
            "had its consequence": _consequential(history, fault, real),
            "healed": _healed(history, fault),
        },
        firings=[_firing(record, axis) for record in fired[:MOST_FIRINGS]],
        more=max(len(fired) - MOST_FIRINGS, 0),
    )


def _armed(band: FaultBand) -> Step:
    if not band.armed:
        return Step(seen=False, told="never")
    told = ", ".join(f"{one.since_s:.2f} to {one.until_s:.2f} s" for one in band.armed)
    return Step(seen=True, told=told)


def _fired(fired: list[FaultRecord], real: list[FaultRecord]) -> Step:
    if not fired:
        return Step(seen=False, told="never")
    idle = f", {len(fired) - len(real)} more without effect" if len(fired) > len(real) else ""
    return Step(bool(real), f"{len(real)} times{idle}")


def _consequential(history: History, fault: FaultSpec, real: list[FaultRecord]) -> Step:
    """By the same signs as the oracle."""
    if not real:
        return Step(seen=False, told="nothing to look for")
    phases = {
        str(event.data.get("phase"))
        for event in history.events_of("armed")
        if isinstance(faults := event.data.get("faults"), list) and fault.id in faults
    }
    doubt = consequence(history, fault, real, phases)
    return Step(doubt is None, doubt or "seen")


def _healed(history: History, fault: FaultSpec) -> Step:
    ends = [
        event
        for event in history.events_of("healed")
        if isinstance(faults := event.data.get("faults"), list) and fault.id in faults
    ]
    if not ends:
        return Step(seen=False, told="never")
    confirmed = all(event.data.get("confirmed") is True for event in ends)
    by = ", ".join(sorted({str(event.data.get("by", "journal")) for event in ends}))
    return Step(confirmed, f"by {by}" if confirmed else "not confirmed")


def trigger_text(trigger: Trigger) -> str:
    """When it strikes, in words."""
    ways = (
        f"each arrival with probability {trigger.probability:g}" if trigger.probability else "",
        f"arrivals {', '.join(map(str, trigger.nth))}" if trigger.nth is not None else "",
        f"every {trigger.every}. arrival from {trigger.offset} on" if trigger.every else "",
        f"a share of {trigger.key_share:g} of all blocks" if trigger.key_share else "",
        f"at most {trigger.limit} times" if trigger.limit is not None else "",
        f"of requests in {', '.join(trigger.states)}" if trigger.states else "",
    )
    return ", ".join(way for way in ways if way)


def _firing(record: FaultRecord, axis: TimeAxis) -> str:
    where = f"{axis.seconds(record.t_ns):.3f} s: {record.role}, {record.site}, arrival {record.n}"
    whom = f", request {record.request}" if record.request else ""
    evidence = ", ".join(f"{key} {_short(value)}" for key, value in record.evidence.items())
    return f"{where}{whom}" + (f" ({evidence})" if evidence else "")


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."
