"""What the last night of a history shows, for the page and for the summary of a CI job. Pure.

The decisions are those that are stored; nothing is decided again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kvchaos.bench.bench_file import FIGURES
from kvchaos.errors import UsageError
from kvchaos.nightly.creep_record import Suspicion
from kvchaos.nightly.night_changes import TrackedChange, last_good_night, tracked_changes
from kvchaos.nightly.night_records import MeasuredScenario, Night, NightPoint
from kvchaos.nightly.night_store import NightHistory
from kvchaos.report.html.axis import milliseconds, number

MISSED_NIGHTS = 14
"""A watched series that these nights measured, and the last one did not, is missing."""
FIGURE_NAMES = {figure.key: figure.name for figure in FIGURES}
RANKS = ("regressed", "still regressed", "improved", "suspicious", "blind", "same", "context")
"""The worst first."""


@dataclass(frozen=True)
class SeriesReport:
    """One series on the last night."""

    series: str
    point: NightPoint
    points: Sequence[NightPoint]
    """Of all nights."""
    changes: Sequence[TrackedChange]
    """All that this series ever belonged to."""
    measured: MeasuredScenario | None
    suspicion: Suspicion | None
    last_good: Night | None
    """Before the open change, or else before the last night."""

    @property
    def scenario(self) -> str:
        """The scenario that was measured."""
        return self.series.split("/")[0]

    @property
    def load(self) -> str:
        """A phase, or rate-N."""
        return self.series.split("/")[1]

    @property
    def figure(self) -> str:
        """The figure as tables name it."""
        key = self.series.split("/")[2]
        return FIGURE_NAMES.get(key, key)

    @property
    def open_change(self) -> TrackedChange | None:
        """The change of this series that is still open."""
        return next(
            (change for change in self.changes if change.state == "open" and self.series in change.standing),
            None,
        )

    @property
    def result(self) -> str:
        """The result of the night; `context` for a series that raises no alarm."""
        return "context" if self.point.decision is None else self.point.decision.result

    @property
    def rank(self) -> str:
        """One of RANKS."""
        if self.result in ("regressed", "improved"):
            return self.result
        if self.open_change is not None and self.open_change.direction == "regressed":
            return "still regressed"
        return "suspicious" if self.suspicion is not None else self.result

    @property
    def slowdown(self) -> float | None:
        """The slowdown of the night, less the accepted one."""
        return None if self.point.decision is None else self.point.decision.slowdown


@dataclass(frozen=True)
class NightReport:
    """The last night, with the history behind it."""

    history: NightHistory
    night: Night
    watched: Sequence[SeriesReport]
    """The worst first."""
    context: Sequence[SeriesReport]
    missing: Sequence[str]
    """Watched series that the night did not measure."""
    changes: Sequence[TrackedChange]
    suspicions: Sequence[Suspicion]

    @cached_property
    def previous(self) -> Night | None:
        """The night before."""
        return self.history.nights[-2] if len(self.history.nights) > 1 else None

    def breaks(self) -> list[str]:
        """Series whose identity is new since they were last measured."""
        rows = (*self.watched, *self.context)
        return [
            row.series
            for row in rows
            if len(row.points) > 1 and row.points[-1].identity != row.points[-2].identity
        ]


def night_report(history: NightHistory, suspicions: Sequence[Suspicion] = ()) -> NightReport:
    """The report of the last night. Raises UsageError for a history without nights."""
    if not history.nights:
        raise UsageError("the history has no nights; measure one with: kvchaos nightly run")
    night = history.nights[-1]
    changes = tracked_changes(history)
    of_series: dict[str, list[TrackedChange]] = defaultdict(list)
    for change in changes:
        for series in change.opened.series:
            of_series[series].append(change)
    suspicious = {each.series: each for each in suspicions}
    rows = [
        _row(history, night, point, of_series.get(point.series, []), suspicious)
        for point in history.by_night[night.night]
    ]
    return NightReport(
        history=history,
        night=night,
        watched=sorted((row for row in rows if row.point.role == "watch"), key=_worst_first),
        context=[row for row in rows if row.point.role == "context"],
        missing=_missing(history, {row.series for row in rows}),
        changes=changes,
        suspicions=suspicions,
    )


def _row(
    history: NightHistory,
    night: Night,
    point: NightPoint,
    changes: Sequence[TrackedChange],
    suspicious: Mapping[str, Suspicion],
) -> SeriesReport:
    row = SeriesReport(
        series=point.series,
        point=point,
        points=history.by_series[point.series],
        changes=changes,
        measured=_measured(night, point.series),
        suspicion=suspicious.get(point.series),
        last_good=None,
    )
    if point.role == "context":
        return row
    since = row.open_change.opened.night if row.open_change is not None else night.night
    good = last_good_night(history, point.series, since)
    return SeriesReport(**{**vars(row), "last_good": good})


def _measured(night: Night, series: str) -> MeasuredScenario | None:
    """The measurement that a series comes from: of its scenario, with its phase or rate if it says so."""
    scenario, load, _ = series.split("/")
    found = [each for each in night.measured if each.scenario == scenario]
    loads = {
        id(each): {each.phase or "", *(f"rate-{rate:g}" for rate in each.rates)}
        if each.rates
        else {each.phase}
        for each in found
    }
    return next((each for each in found if load in loads[id(each)]), found[0] if found else None)


def _missing(history: NightHistory, measured: set[str]) -> list[str]:
    recent = {night.night for night in history.nights[-MISSED_NIGHTS:]}
    return [
        series
        for series, points in history.by_series.items()
        if series not in measured and points[-1].role == "watch" and points[-1].night in recent
    ]


def _worst_first(row: SeriesReport) -> tuple[int, float, str]:
    return RANKS.index(row.rank), -(row.slowdown or 0.0), row.series


def change_percent(slowdown: float) -> float:
    """A logarithm of a ratio as a change in per cent."""
    return math.expm1(slowdown) * 100


def _percent(slowdown: float) -> float | int:
    """One decimal below 10 %, none above."""
    percent = change_percent(slowdown)
    return round(percent, 1) if abs(percent) < 10 else round(percent)


def signed(slowdown: float | None) -> str:
    """A slowdown as text: +8.3 %."""
    return "-" if slowdown is None else f"{_percent(slowdown):+} %"


def unsigned(step: float | None) -> str:
    """A step as text: 3.1 %."""
    return "-" if step is None else f"{_percent(step)} %"


def interval(low: float | None, high: float | None) -> str:
    """An interval of slowdowns as text: +8.0 to +9.4 %."""
    if low is None or high is None:
        return "-"
    return f"{_percent(low):+} to {signed(high)}"


def probability(p: float | None) -> str:
    """A p value as text."""
    return "-" if p is None else "< 1e-9" if p < 1e-9 else f"{p:.2g}"


def figure_text(value: float, unit: str) -> str:
    """A figure in its unit."""
    return milliseconds(value) if unit == "ms" else f"{number(value)} {unit}"
