"""A synthetic history of nights with every sort of change, a break of identity, and a blind series.

The decisions come from a cheap rule; `decide` would take a minute for a year.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

import msgspec
import numpy as np

from kvchaos.bench.bench_file import FIGURES
from kvchaos.nightly.decision import Decision, Reason, Result, stage_test
from kvchaos.nightly.night_changes import acceptance, accepted_level, change_lines
from kvchaos.nightly.night_records import (
    ChangeLine,
    MachineIdentity,
    MeasuredScenario,
    Night,
    NightKind,
    NightPoint,
    PairRuns,
    ServerBuild,
)
from kvchaos.nightly.night_store import (
    CHANGES,
    NIGHTS,
    POINTS,
    NightHistory,
    rounded_point,
    rounded_slowdowns,
)

SCENARIOS = ("chat-return", "baseline-offload", "evict-storm", "preempt-late-stores", "legal-swarm")
LOADS = ("load", "rate-2", "rate-4", "rate-8")
WATCHED = ("ttft-median", "throughput")
LEAST_STEP = round(math.log(1.05), 6)
CONTROL_EVERY = 7
START = datetime(2025, 12, 1, 1, 0, tzinfo=UTC)
CONTROL = ServerBuild(name="0.32.0", vllm="0.32.0", commit=sha1(b"control").hexdigest(), torch="2.13.0")
BLIND = "chat-return/rate-8/ttft-median"
NEW, OLD = "chat-return/load/ttft-median", "baseline-offload/rate-4/ttft-median"
FIXED, ACCEPTED = "evict-storm/load/ttft-median", "legal-swarm/load/throughput"
IMPROVED, CREEPING = "preempt-late-stores/load/ttft-median", "baseline-offload/load/throughput"
_IDENTITIES = ("a" * 16, "b" * 16)


@dataclass(frozen=True, slots=True)
class Step:
    """A slowdown of one series from one share of the history to another."""

    series: str
    size: float
    since: float
    until: float = 2.0


STEPS = (
    Step(FIXED, 0.09, 0.27, 0.36),
    Step(ACCEPTED, 0.07, 0.65),
    Step(IMPROVED, -0.08, 0.75),
    Step(OLD, 0.08, 0.95),
)
BREAK, ACCEPTANCE, CREEP_START, CREEP_END = 0.55, 0.69, 0.6, 0.85
CREEP = 0.04
"""Slowdown of the creeping series at the end: no night on its own finds it."""


def all_series() -> Iterator[str]:
    """Names of all 180 series."""
    for scenario in SCENARIOS:
        for load in LOADS:
            for figure in FIGURES:
                yield f"{scenario}/{load}/{figure.key}"


def synthetic_year(nights: int = 365, seed: int = 0, *, last: NightKind = "comparison") -> NightHistory:
    """A history whose last night finds a new regression; with a control night at its end it finds nothing."""
    random = np.random.default_rng(seed)
    history = NightHistory([], {}, {}, [], [])
    accepted: dict[tuple[str, str], float] = {}
    for number in range(nights):
        night = _night(number, nights, last)
        points = [
            _point(random, series, number / nights, night, accepted, number == nights - 1)
            for series in all_series()
        ]
        lines: list[ChangeLine] = change_lines(history, night, points)
        _add(history, night, points, lines)
        if number == round(ACCEPTANCE * nights):
            change = next(line.change for line in history.changes if ACCEPTED in line.series)
            _add_lines(history, [acceptance(history, change, "more checks, see pull request 4711")])
            accepted = {
                (ACCEPTED, identity): accepted_level(history, ACCEPTED, identity) for identity in _IDENTITIES
            }
    return history


def _add(history: NightHistory, night: Night, points: list[NightPoint], lines: list[ChangeLine]) -> None:
    assert isinstance(history.nights, list)
    assert isinstance(history.by_night, dict)
    assert isinstance(history.by_series, dict)
    history.nights.append(night)
    history.by_night[night.night] = points
    for point in points:
        history.by_series.setdefault(point.series, []).append(point)
    _add_lines(history, lines)


def _add_lines(history: NightHistory, lines: list[ChangeLine]) -> None:
    assert isinstance(history.changes, list)
    history.changes.extend(lines)


def _night(number: int, nights: int, last: NightKind) -> Night:
    start = START + timedelta(days=number)
    is_last = number == nights - 1
    kind: NightKind = last if is_last else "control" if number % CONTROL_EVERY == 6 else "comparison"
    later = number / nights >= BREAK
    candidate = ServerBuild(
        name="nightly", vllm=f"0.33.0.dev{number}", commit=sha1(b"%d" % number).hexdigest(), torch="2.13.0"
    )
    return Night(
        night=start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        kind=kind,
        candidate=CONTROL if kind == "control" else candidate,
        control=CONTROL,
        machine=MachineIdentity(
            host="Linux 6.8, 2 sockets, 512 GB",
            processor="AMD EPYC 9354",
            gpus=["NVIDIA H100 80GB"],
            driver="570.86" if later else "565.57",
        ),
        model="meta-llama/Llama-3.1-8B-Instruct",
        kvchaos="0.9.0 (abc1234)",
        client_us_per_request=61.5,
        ended=(start + timedelta(hours=3, minutes=48)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        budget_s=4 * 3600,
        complete=True,
        measured=[
            _measured(scenario, number, later, 2 if is_last and scenario == SCENARIOS[1] else 0)
            for scenario in SCENARIOS
        ],
    )


def _measured(scenario: str, number: int, later: bool, excluded: int) -> MeasuredScenario:
    return MeasuredScenario(
        scenario=scenario,
        identity=_IDENTITIES[later],
        folder=f"{scenario}-night-{number}",
        phase="load",
        rates=[2.0, 4.0, 8.0],
        seconds=30.0,
        pairs=[
            PairRuns(
                stage="screen",
                seed=seed,
                control=f"{scenario}-{seed}-control",
                candidate=f"{scenario}-{seed}-candidate",
            )
            for seed in range(1, 7)
        ],
        excluded=[f"{scenario}-9{run}-candidate: the client was late" for run in range(excluded)],
    )


def _true_slowdown(series: str, share: float, is_last: bool) -> float:
    total = sum(step.size for step in STEPS if step.series == series and step.since <= share < step.until)
    if series == CREEPING and share >= CREEP_START:
        total += CREEP * min((share - CREEP_START) / (CREEP_END - CREEP_START), 1.0)
    if is_last and series.startswith("chat-return/load/") and series.endswith(WATCHED):
        total += 0.085
    return total


def _point(
    random: np.random.Generator,
    series: str,
    share: float,
    night: Night,
    accepted: Mapping[tuple[str, str], float],
    is_last: bool,
) -> NightPoint:
    identity = _IDENTITIES[share >= BREAK]
    level = 0.0 if night.kind == "control" else accepted.get((series, identity), 0.0)
    watched = series.endswith(WATCHED)
    noise = 0.06 if series == BLIND else 0.011 if share >= BREAK else 0.014
    true = 0.0 if night.kind == "control" else _true_slowdown(series, share, is_last)
    screen = rounded_slowdowns(random.normal(true, noise, 6).tolist())
    mean = sum(screen) / 6 - level
    screened = watched and abs(mean) >= LEAST_STEP / 2 and abs(mean) > 3.365 * noise / math.sqrt(6)
    confirm = rounded_slowdowns(random.normal(true, noise, 18).tolist()) if screened else []
    figure = next(each for each in FIGURES if series.endswith(f"/{each.key}"))
    control = (120.0 if figure.unit == "ms" else 950.0) * math.exp(random.normal(0, 0.02))
    sign = -1 if figure.more_is_better else 1
    point = NightPoint(
        night=night.night,
        series=series,
        role="watch" if watched else "context",
        identity=identity,
        least_step=LEAST_STEP if watched else None,
        accepted=level,
        screen=screen,
        confirm=confirm,
        control=control,
        candidate=control * math.exp(sign * (mean + level)),
        unit=figure.unit,
        decision=_decision(screen, confirm, level, noise) if watched else None,
    )
    return rounded_point(point)


def _decision(screen: list[float], confirm: list[float], accepted: float, noise: float) -> Decision:
    """As `decide` states it, with a visible step that is near the true one."""
    test = stage_test(confirm or screen, accepted)
    half = test.half_width
    result: Result = "blind" if noise > 0.03 else "same"
    reason: Reason | None = "noise" if noise > 0.03 else "not confirmed" if confirm else None
    if confirm and test.p < 1e-4 and abs(test.mean) >= LEAST_STEP:
        result, reason = "regressed" if test.mean > 0 else "improved", None
    return Decision(
        result=result,
        slowdown=test.mean,
        low=test.mean - half,
        high=test.mean + half,
        screen_p=stage_test(screen, accepted).p,
        confirm_p=test.p if confirm else None,
        visible_step=max(LEAST_STEP * 1.1, 1.9 * noise),
        noise=noise,
        reason=reason,
    )


def write_history(history: NightHistory, folder: Path) -> None:
    """All at once: appending night by night reads the whole history each time."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = msgspec.json.Encoder()
    points = [point for night in history.nights for point in history.by_night[night.night]]
    (folder / NIGHTS).write_bytes(encoder.encode_lines(history.nights))
    (folder / POINTS).write_bytes(encoder.encode_lines(points))
    (folder / CHANGES).write_bytes(encoder.encode_lines(history.changes))
