"""Rules for Grafana dashboards, after those of Grafana's dashboard-linter and of pint that matter here.

Each rule is a function from the JSON of a board to the offenders: titles of panels, annotations or variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grafana_foundation_sdk.models import units

from dashboards.parts import METRIC

Board = Mapping[str, Any]
Rule = Callable[[Board], Iterator[str]]

SOURCE = "${datasource}"
WITHOUT_SOURCE = {"datasource", "textbox"}
"""Kinds of variables."""
WITH_UNIT = {"timeseries", "stat", "bargauge"}
BUILT_IN = {"__rate_interval", "__interval", "__range", "datasource"}
UNITS = {value for name, value in vars(units).items() if not name.startswith("_")}
LINK_VALUES = {"__data", "__field", "__url_time_range"}
CELL = re.compile(r"\$\{__data\.fields\.(\w+)")
KEEP_COLUMNS = "filterFieldsByName"
VARIABLE = re.compile(r"\$\{?(\w+)")
WINDOW = re.compile(r"\[([^\]]+)\]")
SELECTOR = re.compile(r"\{[^}]*\}")
COUNTER = re.compile(r"\w_(?:total|bucket|count|sum)$")
GROWTH = re.compile(r"\b(?:rate|irate|increase|changes|resets)\(([a-z]\w*(?::\w+)?)")
OF_A_COUNTER = re.compile(r"\b(?:rate|irate|increase)\(([a-z]\w*(?::\w+)?)")
QUANTILE = re.compile(r"histogram_quantile\([^,]+, (?!sum by \((?:\w+, )*le\b)")
AGGREGATED = re.compile(r"^(?:sum|max|min|avg|count)(?: by \(([^)]*)\))?\s*\(")
LABEL = re.compile(r"\{\{(\w+)\}\}")


def data_panels(board: Board) -> Iterator[Mapping[str, Any]]:
    """All panels that show data, also those of collapsed rows."""
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def targets(board: Board) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each panel with each of its queries."""
    return ((panel, target) for panel in data_panels(board) for target in panel["targets"])


def expressions(board: Board) -> Iterator[tuple[str, str]]:
    """All PromQL of a board with the title of its panel or annotation."""
    yield from ((panel["title"], target["expr"]) for panel, target in targets(board))
    yield from ((each["name"], each["expr"]) for each in board["annotations"]["list"])


def data_links(board: Board) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each panel with the URL of each link of its data, also those of single fields."""
    for panel in data_panels(board):
        config = panel["fieldConfig"]
        yield from ((panel, link["url"]) for link in config["defaults"].get("links", ()))
        for each in config.get("overrides", ()):
            for option in each["properties"]:
                if option["id"] == "links":
                    yield from ((panel, link["url"]) for link in option["value"])


def columns(panel: Mapping[str, Any]) -> set[str]:
    """The columns that a table keeps; none of another panel."""
    kept = [each["options"] for each in panel.get("transformations", ()) if each["id"] == KEEP_COLUMNS]
    return {name for options in kept for name in options["include"]["names"]}


def untitled(board: Board) -> Iterator[str]:
    """Panels without a title of their own."""
    titles = [panel["title"] for panel in data_panels(board)]
    return (title for title in titles if not title.strip() or titles.count(title) > 1)


def undescribed(board: Board) -> Iterator[str]:
    """Panels whose description is not a sentence."""
    return (panel["title"] for panel in data_panels(board) if not panel["description"].endswith("."))


def without_unit(board: Board) -> Iterator[str]:
    """Panels without a unit, or with one that Grafana does not have."""
    for panel in data_panels(board):
        unit = panel["fieldConfig"]["defaults"].get("unit")
        if panel["type"] in WITH_UNIT and unit not in UNITS:
            yield panel["title"]


def wrong_unit(board: Board) -> Iterator[str]:
    """Panels whose unit contradicts the names of their metrics."""
    for panel, target in targets(board):
        expected = expected_unit(target["expr"])
        unit = panel["fieldConfig"]["defaults"].get("unit")
        if panel["type"] in WITH_UNIT and expected not in (None, unit):
            yield panel["title"]


def expected_unit(expr: str) -> str | None:
    """The unit of a query by the suffix of its metric, where that says it."""
    plain = SELECTOR.sub("", expr)
    if re.match(r"histogram_quantile\(.*_seconds_bucket", plain):
        return "s"
    if re.search(r"rate\(\S+_bytes_total", plain):
        return "Bps"
    if re.search(r"_(?:perc|ratio)\b", plain):
        return "percentunit"
    if "(" not in plain and plain.endswith("_seconds"):
        return "s"
    return "bytes" if "(" not in plain and plain.endswith("_bytes") else None


def unstated_window(board: Board) -> Iterator[str]:
    """Panels with a fixed window that their description does not state."""
    for panel, target in targets(board):
        for window in WINDOW.findall(target["expr"]):
            length = window.partition(":")[0]
            if not window.startswith("$") and not re.search(rf"\b{length}\b", panel["description"]):
                yield panel["title"]


def fixed_source(board: Board) -> Iterator[str]:
    """What does not use the data source that the user chooses."""
    for panel, target in targets(board):
        if {panel["datasource"]["uid"], target["datasource"]["uid"]} != {SOURCE}:
            yield panel["title"]
    others = [*board["annotations"]["list"], *board["templating"]["list"]]
    for other in others:
        if other.get("type") not in WITHOUT_SOURCE and other["datasource"]["uid"] != SOURCE:
            yield other["name"]
    if [each["name"] for each in board["templating"]["list"] if each["type"] == "datasource"] != [
        "datasource"
    ]:
        yield "datasource"


def bare_counter(board: Board) -> Iterator[str]:
    """Panels that show the value of a counter without "so far" in their description."""
    for panel, target in targets(board):
        plain = SELECTOR.sub("", target["expr"])
        bare = {name for name in METRIC.findall(plain) if COUNTER.search(name)} - set(GROWTH.findall(plain))
        if bare and "so far" not in panel["description"]:
            yield panel["title"]


def rate_of_a_gauge(board: Board) -> Iterator[str]:
    """Queries with the growth of what is no counter."""
    for title, expr in expressions(board):
        if not all(map(COUNTER.search, OF_A_COUNTER.findall(SELECTOR.sub("", expr)))):
            yield title


def quantile_without_le(board: Board) -> Iterator[str]:
    """Queries with a quantile of buckets that are not summed by `le`."""
    return (title for title, expr in expressions(board) if QUANTILE.search(expr))


def unknown_variable(board: Board) -> Iterator[str]:
    """Queries with a variable that the board does not have."""
    known = BUILT_IN | {each["name"] for each in board["templating"]["list"]}
    return (title for title, expr in expressions(board) if not known.issuperset(VARIABLE.findall(expr)))


def nameless_series(board: Board) -> Iterator[str]:
    """Panels with several series and no legend, or with a label in the legend that the query drops."""
    for panel, target in targets(board):
        legend = target.get("legendFormat", "")
        single = panel["type"] == "stat" and len(panel["targets"]) == 1
        aggregated = AGGREGATED.match(target["expr"])
        left = set(re.findall(r"\w+", aggregated[1] or "")) if aggregated else set(LABEL.findall(legend))
        if (not legend and not single) or legend == "__auto" or not left.issuperset(LABEL.findall(legend)):
            yield panel["title"]


def link_without_time(board: Board) -> Iterator[str]:
    """Links that lose the time shown, or to other dashboards without the variables."""
    for link in board["links"]:
        if not (link["keepTime"] and link["includeVars"]):
            yield link["title"]
    for _, url in data_links(board):
        if url.startswith("/d/") and not re.search(r"__url_time_range|&from=.*&to=", url):
            yield url


def unknown_link_value(board: Board) -> Iterator[str]:
    """Links with a variable that the board does not have, or with a cell that the row does not have."""
    known = LINK_VALUES | {each["name"] for each in board["templating"]["list"]}
    for panel, url in data_links(board):
        if not known.issuperset(VARIABLE.findall(url)) or not columns(panel).issuperset(CELL.findall(url)):
            yield url


RULES: tuple[Rule, ...] = (
    untitled,
    undescribed,
    without_unit,
    wrong_unit,
    unstated_window,
    fixed_source,
    bare_counter,
    rate_of_a_gauge,
    quantile_without_le,
    unknown_variable,
    nameless_series,
    link_without_time,
    unknown_link_value,
)
