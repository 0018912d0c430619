"""What is wrong with a drawn board. Each check gives the kind of a problem and what is concerned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.boards.board_request import VARIABLE, BoardRequest
from tests.boards.drawn_panel import DrawnPanel
from tests.boards.expected_units import is_written_in, unit_of
from tests.boards.legend_terms import contradicted_terms

DIGIT = re.compile(r"\d")
WITH_VALUES = {"timeseries", "stat", "bargauge"}


@dataclass(frozen=True)
class Problem:
    """Of a panel, or of the board when `panel` is empty."""

    kind: str
    panel: str
    detail: str


@dataclass(frozen=True)
class Drawing:
    """A panel as it is in the board, its queries with their answers, and what was drawn."""

    panel: Mapping[str, Any]
    targets: list[dict[str, Any]]
    drawn: DrawnPanel

    @property
    def type(self) -> str:
        """Of the panel, as Grafana names it."""
        return str(self.panel["type"])

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of all its fields."""
        found: Mapping[str, Any] = self.panel["fieldConfig"]["defaults"]
        return found


Check = Callable[[Drawing], Iterator[str]]


def problems(request: BoardRequest, drawn: list[DrawnPanel]) -> list[Problem]:
    """All problems of a board, in the order of its panels."""
    found = [
        Problem("variable", "", f"{name} has no value")
        for name, value in request.variables.items()
        if not value
    ]
    for (panel, targets), report in zip(request.answered, drawn, strict=True):
        drawing = Drawing(panel, targets, report)
        found += [
            Problem(kind, panel["title"], detail)
            for kind, check in CHECKS.items()
            for detail in check(drawing)
        ]
    return found


def errors(drawing: Drawing) -> Iterator[str]:
    """Errors of Prometheus, and those that the panel's code raised."""
    yield from drawing.drawn.errors


def unfilled(drawing: Drawing) -> Iterator[str]:
    """Variables that are in a query, a legend or a title as they are drawn."""
    texts = [drawing.drawn.title, *drawing.drawn.legend]
    texts += [target[key] for target in drawing.targets for key in ("expr", "legend")]
    yield from (text for text in texts if VARIABLE.search(text))


def no_data(drawing: Drawing) -> Iterator[str]:
    """Panels that show no value, and queries without a series."""
    if not drawing.drawn.has_data:
        yield "the panel shows no value"
    else:
        yield from (f"query {target['refId']}" for target in drawing.targets if not target["result"])


def wrong_unit(drawing: Drawing) -> Iterator[str]:
    """Texts at axes and in figures that are not in the unit of the query."""
    if drawing.type not in WITH_VALUES or drawing.panel["options"].get("textMode") == "name":
        return
    units = {unit_of(target["expr"]) for target in drawing.targets}
    axes = [text for axis in drawing.drawn.axes for text in axis.texts]
    figures = [figure.text for figure in drawing.drawn.figures if figure.data and DIGIT.search(figure.text)]
    for text in [*axes, *figures]:
        if not any(is_written_in(unit, text) for unit in units):
            yield f"{text!r} is not in {', '.join(sorted(units))}"
    if drawing.type == "timeseries" and drawing.drawn.series and not axes:
        yield "an axis without texts"
    if units == {"percentunit"}:
        yield from _wrong_shares(drawing.drawn)


def _wrong_shares(drawn: DrawnPanel) -> Iterator[str]:
    """Texts in percent that are a hundredth of the value."""
    ends = [(axis.texts[-1], axis.high) for axis in drawn.axes if axis.texts and axis.high]
    ends += [(figure.text, figure.number) for figure in drawn.figures if figure.data and figure.number]
    for text, value in ends:
        if text.endswith("%") and float(text.rstrip("%").replace(",", "")) < 20 * value:
            yield f"{text!r} for the value {value:g}"


def bad_legend(drawing: Drawing) -> Iterator[str]:
    """Series of a graph that the legend does not list, or lists without a name of their own."""
    names = [series.name for series in drawing.drawn.series] or [
        figure.name for figure in drawing.drawn.figures if figure.data
    ]
    several = len(names) > 1
    if drawing.type == "timeseries" and sorted(drawing.drawn.legend) != sorted(names):
        yield f"legend {drawing.drawn.legend}, series {names}"
    for name in set(names):
        if several and names.count(name) > 1:
            yield f"{name!r} names {names.count(name)} series"
        if (several or drawing.type == "timeseries") and ("{" in name or not re.search(r"\w", name)):
            yield f"a series is named {name!r}"
        if re.search(r"\(\)|: ?$", name):
            yield f"a label of {name!r} is empty"


def wrong_legend(drawing: Drawing) -> Iterator[str]:
    """Legends that their query contradicts."""
    if drawing.type == "timeseries":
        for target in drawing.targets:
            yield from contradicted_terms(target["legend"], target["expr"])


def not_visible(drawing: Drawing) -> Iterator[str]:
    """Graphs of which nothing can be seen, or only a part."""
    if drawing.type != "timeseries" or not drawing.drawn.has_data:
        return
    if not any(series.pixels for series in drawing.drawn.series):
        yield "no line is visible"
    with_points = [series for series in drawing.drawn.series if series.points]
    lows, highs = ([getattr(axis, end) for axis in drawing.drawn.axes] for end in ("low", "high"))
    if None not in lows and min(series.low for series in with_points) < min(lows, default=0):
        yield "values below the axis"
    if None not in highs and max(series.high for series in with_points) > max(highs, default=0):
        yield "values above the axis"


def override_without_effect(drawing: Drawing) -> Iterator[str]:
    """Overrides of a query that the panel does not have, and colours that were not drawn."""
    drawn = drawing.drawn
    colours = {series.ref: series.colour for series in drawn.series}
    refs = {target["refId"] for target in drawing.targets}
    names = {series.name for series in drawn.series} | {figure.name for figure in drawn.figures}
    names |= set(drawn.table.columns) if drawn.table else set()
    for override in drawing.panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        if matcher["id"] == "byFrameRefID" and matcher["options"] not in refs:
            yield f"no query {matcher['options']}"
        if matcher["id"] == "byName" and drawn.has_data and matcher["options"] not in names:
            yield f"no series {matcher['options']}"
        for each in override["properties"]:
            colour = colours.get(matcher["options"])
            if each["id"] == "color" and colour and colour.lower() != each["value"]["fixedColor"].lower():
                yield f"{matcher['options']} is {colour}"
            if each["id"] == "custom.fillBelowTo" and each["value"] not in names:
                yield f"no series {each['value']!r} to fill to"


def bad_thresholds(drawing: Drawing) -> Iterator[str]:
    """Thresholds without a step, or not in order, and a colour by Grafana's default threshold of 80."""
    thresholds = drawing.defaults.get("thresholds")
    if thresholds is not None:
        values = [step.get("value") for step in thresholds.get("steps", ())]
        if not values or values[0] is not None or None in values[1:] or values[1:] != sorted(values[1:]):
            yield f"steps at {values}"
    elif drawing.type in ("stat", "bargauge") and drawing.defaults.get("color", {}).get("mode") in (
        None,
        "thresholds",
    ):
        yield "without thresholds and a fixed colour a number of 80 or more is red"


def unmapped_state(drawing: Drawing) -> Iterator[str]:
    """Numbers where every value should have a text."""
    mappings = drawing.defaults.get("mappings")
    if not mappings:
        return
    shown = [state for series in drawing.drawn.series for state in series.states]
    shown += [figure.text for figure in drawing.drawn.figures if figure.data]
    yield from (f"{text!r} has no text" for text in sorted(set(shown)) if DIGIT.search(text))


CHECKS: Mapping[str, Check] = {
    "error": errors,
    "variable": unfilled,
    "no data": no_data,
    "unit": wrong_unit,
    "legend": bad_legend,
    "legend term": wrong_legend,
    "visibility": not_visible,
    "override": override_without_effect,
    "threshold": bad_thresholds,
    "state": unmapped_state,
}
