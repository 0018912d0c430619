"""The whole history as OpenMetrics, with the times of the nights.

`promtool tsdb create-blocks-from openmetrics FILE DIR` makes a Prometheus database of it. A night is one
sample, so queries look back over it: `last_over_time(kvchaos_night_slowdown_ratio[2d])`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from urllib.parse import quote

from history import layout
from kvchaos.nightly.night_changes import tracked_changes
from kvchaos.nightly.night_records import MeasuredScenario, Night, NightPoint
from kvchaos.nightly.night_store import NightHistory
from kvchaos.openmetrics_text import GaugeFamily, TimedSample, label_text
from kvchaos.stability.campaign_export import RUNS_URL

RESULTS = ("regressed", "improved", "same", "blind")
ValueOf = Callable[[NightPoint], float | None]
LabelledPoint = tuple[NightPoint, str, int]


def night_families(history: NightHistory, runs_url: str = RUNS_URL) -> Iterator[GaugeFamily]:
    """All metrics of the history. Without nights there are none.

    `runs_url`: where the folders of the runs are served, so that dashboards can link to reports.
    """
    if not history.nights:
        return
    yield from _each_night(history.nights)
    points = list(_labelled(history))
    yield GaugeFamily(
        "kvchaos_night_figure",
        "Median over the pairs of the night, in the unit of the label.",
        [*_figures(points, "control"), *_figures(points, "candidate")],
    )
    for name, text, value_of in RATIOS:
        yield GaugeFamily(f"kvchaos_night_{name}_ratio", text, _ratios(points, value_of), "ratio")
    decided = [row for row in points if row[0].decision is not None]
    yield GaugeFamily(
        "kvchaos_night_result",
        "1 for the result of the night, 0 for the others.",
        [sample for result in RESULTS for sample in _results(decided, result)],
    )
    yield GaugeFamily(
        "kvchaos_night_report_time_seconds",
        "Start of a night that measured the watched series, seconds since the epoch. "
        "The label has the report of one run of the candidate.",
        sorted(_reports(history, decided, runs_url), key=lambda sample: (sample[0], sample[2])),
        "seconds",
    )
    yield GaugeFamily(
        "kvchaos_night_change", "1 on the night of an event of a change.", list(_changes(history))
    )


def _seconds(night: str) -> int:
    return round(datetime.fromisoformat(night).timestamp())


def _each_night(nights: Sequence[Night]) -> Iterator[GaugeFamily]:
    times = [(_seconds(night.night), night) for night in nights]
    yield GaugeFamily(
        "kvchaos_night_info",
        "Always 1. The labels name the night.",
        sorted((label_text(_night_labels(night)), 1.0, time) for time, night in times),
    )
    yield GaugeFamily(
        "kvchaos_night_duration_seconds",
        "Duration of the night.",
        [("", float(_seconds(night.ended) - time), time) for time, night in times],
        "seconds",
    )
    yield GaugeFamily(
        "kvchaos_night_complete",
        "1 if all measurements had their pairs within the budget, else 0.",
        [("", float(night.complete), time) for time, night in times],
    )
    yield GaugeFamily(
        "kvchaos_night_excluded_runs",
        "Runs that do not count.",
        [("", float(sum(len(each.excluded) for each in night.measured)), time) for time, night in times],
    )


def _night_labels(night: Night) -> dict[str, str]:
    machine = night.machine
    return {
        "kind": night.kind,
        "candidate": night.candidate.vllm,
        "commit": night.candidate.commit or "",
        "control": night.control.vllm,
        "model": night.model,
        "processor": machine.processor,
        "gpus": ", ".join(machine.gpus),
        "driver": machine.driver or "",
        "kvchaos": night.kvchaos,
    }


def _labelled(history: NightHistory) -> Iterator[LabelledPoint]:
    """All points, series by series, and within a series by the control that they were measured against."""
    times = {night.night: _seconds(night.night) for night in history.nights}
    controls = {night.night: night.control.vllm for night in history.nights}
    for series, points in history.by_series.items():
        scenario, load, figure = series.split("/")
        names = {"series": series, "scenario": scenario, "load": load, "figure": figure}
        for point in sorted(points, key=lambda each: (controls[each.night], each.role)):
            labels = label_text({**names, "role": point.role, "control": controls[point.night]})
            yield point, labels, times[point.night]


def _figures(points: Sequence[LabelledPoint], side: str) -> Iterator[TimedSample]:
    for point, labels, time in points:
        value = point.control if side == "control" else point.candidate
        yield f"{labels},{label_text({'unit': point.unit, 'side': side})}", value, time


def _mean(point: NightPoint) -> float | None:
    """The slowdown as decided; for context the mean of its pairs."""
    if point.decision is not None:
        return point.decision.slowdown
    return sum(point.screen) / len(point.screen) if point.screen else None


RATIOS: tuple[tuple[str, str, ValueOf], ...] = (
    ("slowdown", "Relative slowdown of the candidate, less the accepted one; above 0: slower.", _mean),
    (
        "slowdown_low",
        "Lower bound of the 95 % interval of the slowdown.",
        lambda point: point.decision.low if point.decision else None,
    ),
    (
        "slowdown_high",
        "Upper bound of the 95 % interval of the slowdown.",
        lambda point: point.decision.high if point.decision else None,
    ),
    (
        "visible_step",
        "The smallest step that the night finds with a probability of 80 %.",
        lambda point: point.decision.visible_step if point.decision else None,
    ),
    (
        "noise",
        "Standard deviation of one pair.",
        lambda point: point.decision.noise if point.decision else None,
    ),
    (
        "accepted",
        "Slowdown that was accepted before the night.",
        lambda point: point.accepted if point.decision else None,
    ),
)
"""Name, help text, and the logarithm that is exported as a relative change: 0.05 is 5 %."""


def _ratios(points: Sequence[LabelledPoint], value_of: ValueOf) -> Iterator[TimedSample]:
    for point, labels, time in points:
        if (value := value_of(point)) is not None:
            yield labels, math.expm1(value), time


def _results(points: Sequence[LabelledPoint], result: str) -> Iterator[TimedSample]:
    for point, labels, time in points:
        found = point.decision is not None and point.decision.result == result
        yield f"{labels},{label_text({'result': result})}", float(found), time


def _reports(history: NightHistory, points: Sequence[LabelledPoint], runs_url: str) -> Iterator[TimedSample]:
    """Of watched series alone, since each night makes a series of its own."""
    paths = {(night.night, each.scenario): path for night in history.nights for each, path in _kept(night)}
    for point, _, time in points:
        scenario = point.series.partition("/")[0]
        if path := paths.get((point.night, scenario)):
            report = f"{runs_url.rstrip('/')}/{quote(f'{path}/{layout.REPORT}')}"
            labels = {"series": point.series, "scenario": scenario, "report": report}
            yield label_text(labels), float(time), time


def _kept(night: Night) -> Iterator[tuple[MeasuredScenario, str]]:
    """Each measured scenario with the folder of the last run of the candidate: that of the longer stage."""
    for each in night.measured:
        if each.pairs:
            yield each, f"{each.folder}/{each.pairs[-1].candidate}"


def _changes(history: NightHistory) -> Iterator[TimedSample]:
    for change in tracked_changes(history):
        names = {
            "change": change.id,
            "scenario": change.opened.series[0].partition("/")[0] if change.opened.series else "",
            "direction": change.direction,
        }
        events = sorted((line.event, line.night) for line in change.lines)
        # Two lines of one night may close different series of a change.
        for event, night in dict.fromkeys(events):
            yield label_text({**names, "event": event}), 1.0, _seconds(night)
