"""Changes: the events that a night adds, and the level and the noise that its decisions start from. Pure.

A change follows one step of some series of one scenario. It is known by the identity that these series had:
where the identity is another, the change has ended, and no line says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kvchaos.errors import UsageError
from kvchaos.nightly.detection_power import NO_NOISE, PairNoise
from kvchaos.nightly.night_records import ChangeLine, Night, NightPoint
from kvchaos.nightly.night_store import DIGITS, NightHistory

ChangeState = Literal["open", "accepted", "fixed", "ended"]
"""ended: the identity of its series is another one now."""
Direction = Literal["regressed", "improved"]
NOISE_NIGHTS = 20
"""Earlier nights whose pairs count for the noise of a series."""


@dataclass(frozen=True, slots=True)
class TrackedChange:
    """All events of one change."""

    id: str
    lines: Sequence[ChangeLine]
    state: ChangeState
    standing: Collection[str]
    """Its series that still show it; of an accepted change those whose level it shifts."""

    @property
    def opened(self) -> ChangeLine:
        """The event that opened it."""
        return self.lines[0]

    @property
    def direction(self) -> Direction:
        """By the sign of the slowdowns that opened it."""
        return "regressed" if sum(self.opened.slowdowns) > 0 else "improved"

    @property
    def confirmed(self) -> bool:
        """Whether a later night found it again."""
        return any(line.event == "confirmed" for line in self.lines)

    @property
    def accepted(self) -> ChangeLine | None:
        """The event by which its step stays; None: it was not accepted."""
        return next((line for line in self.lines if line.event == "accepted"), None)

    @property
    def first_bad(self) -> str | None:
        """The first build that shows it, where it was located."""
        return next((line.first_bad for line in self.lines if line.first_bad is not None), None)

    def step(self, series: str) -> float:
        """The slowdown at which it opened for one of its series."""
        return dict(zip(self.opened.series, self.opened.slowdowns, strict=True))[series]


def tracked_changes(history: NightHistory) -> list[TrackedChange]:
    """All changes, in the order in which they opened."""
    lines: dict[str, list[ChangeLine]] = defaultdict(list)
    for line in history.changes:
        lines[line.change].append(line)
    return [_tracked(history, name, found) for name, found in lines.items()]


def _tracked(history: NightHistory, name: str, lines: Sequence[ChangeLine]) -> TrackedChange:
    opened = lines[0]
    remaining = set(opened.series)
    for line in lines:
        if line.event == "fixed":
            remaining -= set(line.series or opened.series)
    standing = {series for series in remaining if _same_identity(history, series, opened.night)}
    state: ChangeState = "open"
    if not remaining:
        state = "fixed"
    elif not standing:
        state = "ended"
    elif any(line.event == "accepted" for line in lines):
        state = "accepted"
    return TrackedChange(name, lines, state, standing)


def _same_identity(history: NightHistory, series: str, night: str) -> bool:
    """Whether a series still has the identity that it had on a night."""
    points = history.by_series.get(series, ())
    then = next((point.identity for point in points if point.night == night), None)
    return then is not None and then == points[-1].identity


def change_lines(history: NightHistory, night: Night, points: Sequence[NightPoint]) -> list[ChangeLine]:
    """The events of a night that is not in the history yet.

    A control night changes nothing: it measures one build only, so whatever it finds is a false alarm.
    """
    if night.kind == "control":
        return []
    identities = {point.series: point.identity for point in points}
    open_changes = [change for change in tracked_changes(history) if change.state == "open"]
    decided = {
        point.series: point for point in points if point.role == "watch" and point.decision is not None
    }
    lines: list[ChangeLine] = []
    explained: set[str] = set()
    for change in open_changes:
        found = {
            series: decided[series]
            for series in sorted(change.standing)
            if series in decided and _identity_at(history, series, change.opened.night) == identities[series]
        }
        explained |= {series for series, point in found.items() if _result(point) == change.direction}
        lines += _later_events(change, night.night, found)
    fresh = [point for series, point in decided.items() if series not in explained]
    taken = {line.change for line in history.changes}
    return [*lines, *_opened(night.night, fresh, taken)]


def _identity_at(history: NightHistory, series: str, night: str) -> str | None:
    points = history.by_series.get(series, ())
    return next((point.identity for point in points if point.night == night), None)


def _result(point: NightPoint) -> str:
    return "" if point.decision is None else point.decision.result


def _later_events(change: TrackedChange, night: str, found: Mapping[str, NightPoint]) -> Iterator[ChangeLine]:
    """Confirmed once, by any of its series; fixed for each series that no longer shows it."""
    again = [series for series, point in found.items() if _result(point) == change.direction]
    if again and not change.confirmed:
        yield ChangeLine(
            change=change.id,
            event="confirmed",
            night=night,
            series=again,
            slowdowns=[_slowdown(found[series]) for series in again],
        )
    gone = [series for series, point in found.items() if _is_gone(change, series, point)]
    if gone:
        yield ChangeLine(change=change.id, event="fixed", night=night, series=gone)


def _is_gone(change: TrackedChange, series: str, point: NightPoint) -> bool:
    """The other direction; or `same` with an interval that excludes the step.

    A screen of a few pairs misses a step near the least one on one night in four. Without the interval such a
    night would close the change, and the next one would raise the same alarm again.
    """
    decision = point.decision
    if decision is None or decision.low is None or decision.high is None:
        return False
    if decision.result in ("regressed", "improved"):
        return decision.result != change.direction
    step = change.step(series)
    return decision.result == "same" and (decision.high < step if step > 0 else decision.low > step)


def _slowdown(point: NightPoint) -> float:
    if point.decision is None or point.decision.slowdown is None:
        raise ValueError(f"{point.series}: no slowdown was decided on {point.night}")
    return round(point.decision.slowdown, DIGITS)


def _opened(night: str, points: Iterable[NightPoint], taken: Collection[str]) -> Iterator[ChangeLine]:
    """One change for all series of a scenario that changed in the same direction."""
    groups: dict[tuple[str, Direction], list[NightPoint]] = defaultdict(list)
    for point in points:
        if point.decision is not None and point.decision.result in ("regressed", "improved"):
            direction: Direction = "regressed" if _slowdown(point) > 0 else "improved"
            groups[point.series.partition("/")[0], direction].append(point)
    used = set(taken)
    for (scenario, _), found in groups.items():
        name = _free_name(f"{night[:10]}-{scenario.replace('_', '-')}", used)
        used.add(name)
        yield ChangeLine(
            change=name,
            event="opened",
            night=night,
            series=[point.series for point in found],
            slowdowns=[_slowdown(point) for point in found],
        )


def _free_name(name: str, used: Collection[str]) -> str:
    """The name, cut to the length of an id, with a number where another change has it."""
    name, number = name[:60], 1
    while (candidate := name if number == 1 else f"{name}-{number}") in used:
        number += 1
    return candidate


def accepted_level(history: NightHistory, series: str, identity: str) -> float:
    """The slowdown that is accepted for a series: the sum of its accepted steps under this identity."""
    return sum(
        dict(zip(line.series, line.slowdowns, strict=True)).get(series, 0.0)
        for line in history.changes
        if line.event == "accepted" and _last_identity(history, series, line.night) == identity
    )


def _last_identity(history: NightHistory, series: str, night: str) -> str | None:
    """The identity of a series on a night, or on the last one before that measured it."""
    points = history.by_series.get(series, ())
    return next((point.identity for point in reversed(points) if point.night <= night), None)


def acceptance(history: NightHistory, change_id: str, reason: str) -> ChangeLine:
    """The event by which a change stays. Raises UsageError for one that is not open."""
    changes = {change.id: change for change in tracked_changes(history)}
    change, text = changes.get(change_id), " ".join(reason.split())
    open_ids = ", ".join(each.id for each in changes.values() if each.state == "open") or "none"
    if change is None:
        raise UsageError(f"there is no change {change_id}; open: {open_ids}")
    if change.state != "open":
        raise UsageError(f"the change {change_id} is {change.state}; open: {open_ids}")
    if not text:
        raise UsageError("--reason: give a text that says why the step stays")
    standing = [series for series in change.opened.series if series in change.standing]
    return ChangeLine(
        change=change_id,
        event="accepted",
        night=history.nights[-1].night,
        series=standing,
        slowdowns=[_best_step(history, change, series) for series in standing],
        reason=text,
    )


def _best_step(history: NightHistory, change: TrackedChange, series: str) -> float:
    """Mean of all pairs since the change, without the screen that selected it."""
    kinds = {night.night: night.kind for night in history.nights}
    slowdowns: list[float] = []
    for point in history.by_series[series]:
        if point.night < change.opened.night or kinds[point.night] == "control":
            continue
        pairs = point.confirm if point.night == change.opened.night else [*point.screen, *point.confirm]
        slowdowns += [each - point.accepted for each in pairs]
    return round(float(np.mean(slowdowns)), DIGITS) if slowdowns else change.step(series)


def earlier_noise(history: NightHistory, series: str, identity: str, nights: int = NOISE_NIGHTS) -> PairNoise:
    """The noise of a pair over the last nights of this identity, control nights included."""
    points = [point for point in history.by_series.get(series, ()) if point.identity == identity]
    noise = NO_NOISE
    for point in points[-nights:]:
        noise = noise.plus(PairNoise.of(point.screen)).plus(PairNoise.of(point.confirm))
    return noise


def last_good_night(history: NightHistory, series: str, before: str) -> Night | None:
    """The last comparison night before another one that found the series same, under the same identity."""
    identity = _last_identity(history, series, before)
    good = {
        point.night
        for point in history.by_series.get(series, ())
        if point.night < before and point.identity == identity and _result(point) == "same"
    }
    nights = (night for night in reversed(history.nights) if night.kind == "comparison")
    return next((night for night in nights if night.night in good), None)
