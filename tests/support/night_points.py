"""Small histories of nights, point by point."""

from __future__ import annotations

from collections.abc import Sequence

from kvchaos.nightly.decision import Decision, Result
from kvchaos.nightly.night_records import (
    ChangeLine,
    MachineIdentity,
    MeasuredScenario,
    Night,
    NightKind,
    NightPoint,
    ServerBuild,
)
from kvchaos.nightly.night_store import NightHistory, night_history

SERIES = "chat-return/load/ttft-median"
IDENTITY, OTHER_IDENTITY = "a" * 16, "b" * 16


def night_id(day: int) -> str:
    """The start of the night of a day of November."""
    return f"2026-11-{day:02}T01:00:00Z"


def night(day: int, kind: NightKind = "comparison") -> Night:
    """A night whose candidate is a build of that day."""
    control = ServerBuild(name="0.32.0", vllm="0.32.0")
    candidate = ServerBuild(name="nightly", vllm=f"0.33.0.dev{day}", commit=f"{day:040x}")
    return Night(
        night=night_id(day),
        kind=kind,
        candidate=control if kind == "control" else candidate,
        control=control,
        machine=MachineIdentity(host="Linux, 2 processors", processor="x86"),
        model="tiny",
        kvchaos="0.1.0",
        ended=f"2026-11-{day:02}T04:00:00Z",
        budget_s=14400,
        complete=True,
        measured=[MeasuredScenario(scenario="chat-return", identity=IDENTITY, folder="chat-return")],
    )


def point(
    day: int,
    result: Result = "same",
    slowdown: float = 0.0,
    *,
    series: str = SERIES,
    identity: str = IDENTITY,
    half: float = 0.01,
    accepted: float = 0.0,
) -> NightPoint:
    """A watched series with its decision; `half` of the interval, `slowdown` above what is accepted."""
    pairs = [round(slowdown + accepted + each, 6) for each in (-0.001, 0.001) * 3]
    return NightPoint(
        night=night_id(day),
        series=series,
        role="watch",
        identity=identity,
        least_step=0.05,
        accepted=accepted,
        screen=pairs,
        confirm=pairs * 3 if result in ("regressed", "improved") else [],
        control=100.0,
        candidate=100.0 * (1 + slowdown),
        unit="ms",
        decision=Decision(
            result=result,
            slowdown=slowdown,
            low=slowdown - half,
            high=slowdown + half,
            screen_p=0.4,
            visible_step=0.052,
            noise=0.01,
            reason="noise" if result == "blind" else None,
        ),
    )


def history_of(
    points: Sequence[NightPoint],
    changes: Sequence[ChangeLine] = (),
    kinds: dict[int, NightKind] | None = None,
) -> NightHistory:
    """The nights of the points; days of another kind than comparison are given."""
    days = sorted({int(each.night[8:10]) for each in points})
    return night_history([night(day, (kinds or {}).get(day, "comparison")) for day in days], points, changes)
