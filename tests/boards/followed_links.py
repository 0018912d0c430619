"""The links of a board as a user follows them: of each row, with its values filled in as Grafana does.

A link to another board opens it with the variables and the time of the link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from prometheus_api_client import PrometheusConnect

from tests.boards.board_request import BoardRequest, request_board
from tests.prometheus.grafana_queries import TimeRange
from tests.support.board_rules import columns

PLACEHOLDER = re.compile(r"\$\{([\w.]+)(?::(\w+))?\}")
LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
URI = ";/?:@&=+$,#-_.!~*'()[]"
"""What stays as it is where a link gives no format for a value."""
BOARD_PATH = "/d/"
VARIABLE_PREFIX = "var-"
MS = 1000
Answer = Mapping[str, Any]
"""Of a query of a panel."""
Boards = Sequence[Mapping[str, Any]]


class LinkBroken(Exception):
    """A link that leads nowhere, or to something else than it says."""


@dataclass(frozen=True)
class LinkedRow:
    """A row of a table, or a series of another panel, with its links."""

    panel: str
    cells: Mapping[str, str]
    """Text by column; of a series its labels, and `name`."""
    links: Mapping[str, str]
    """URL by title."""


@dataclass(frozen=True)
class LinkTarget:
    """What a link opens."""

    board: Mapping[str, Any]
    variables: Mapping[str, str]
    shown: TimeRange


def is_board(url: str) -> bool:
    """Whether a link leads to a board of Grafana."""
    return url.startswith(BOARD_PATH)


def linked_rows(request: BoardRequest) -> Iterator[LinkedRow]:
    """The rows that have links, in the order of the board."""
    for panel, targets in request.answered:
        templates = list(_templates(panel))
        rows = _table_rows(panel, targets) if panel["type"] == "table" else _series(targets)
        for cells in rows if templates else ():
            links = {
                title: _filled(url, cells, request)
                for column, title, url in templates
                if column is None or column in cells
            }
            yield LinkedRow(panel["title"], cells, links)


def link_target(url: str, boards: Boards) -> LinkTarget:
    """The board of a link, which has the variables of the link. Raises LinkBroken."""
    parts = urlsplit(url)
    uid = parts.path.removeprefix(BOARD_PATH)
    board = next((each for each in boards if each["uid"] == uid), None)
    if board is None:
        raise LinkBroken(f"{url}: no board {uid}")
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    chosen = {
        name.removeprefix(VARIABLE_PREFIX): value
        for name, value in given.items()
        if name.startswith(VARIABLE_PREFIX)
    }
    unknown = set(chosen) - {each["name"] for each in board["templating"]["list"]}
    if unknown:
        raise LinkBroken(f"{url}: {uid} has no variable {', '.join(sorted(unknown))}")
    return LinkTarget(board, chosen, _time_range(url, given))


def opened_board(url: str, boards: Boards, prometheus: PrometheusConnect) -> BoardRequest:
    """The board of a link, answered, with the values of the link. Raises LinkBroken."""
    target = link_target(url, boards)
    request = request_board(target.board, prometheus, target.shown, target.variables)
    lost = [name for name, value in target.variables.items() if request.variables[name] != value]
    empty = [name for name, value in request.variables.items() if not value]
    if lost or empty:
        raise LinkBroken(f"{url}: variables without this value: {lost}, without a value: {empty}")
    return request


def _time_range(url: str, given: Mapping[str, str]) -> TimeRange:
    try:
        begin_s, end_s = (float(given[name]) / MS for name in ("from", "to"))
    except (KeyError, ValueError) as error:
        raise LinkBroken(f"{url}: no time") from error
    if begin_s >= end_s:
        raise LinkBroken(f"{url}: ends before it begins")
    return TimeRange(begin_s, end_s)


def _templates(panel: Mapping[str, Any]) -> Iterator[tuple[str | None, str, str]]:
    """Column, title and URL of each link; no column: of all fields."""
    config = panel["fieldConfig"]
    for link in config["defaults"].get("links", ()):
        yield None, link["title"], link["url"]
    for override in config["overrides"]:
        for each in override["properties"]:
            if each["id"] == "links":
                for link in each["value"]:
                    yield override["matcher"]["options"], link["title"], link["url"]


def _table_rows(panel: Mapping[str, Any], targets: Sequence[Answer]) -> Iterator[dict[str, str]]:
    """The answers merged by their labels in the order of the first, with the columns that the panel keeps."""
    merged: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for target in targets:
        for series in target["result"]:
            labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
            row = merged.setdefault(tuple(sorted(labels.items())), labels)
            row[target["legend"]] = _last(series)
    kept = columns(panel)
    for row in merged.values():
        yield {name: value for name, value in row.items() if name in kept}


def _series(targets: Sequence[Answer]) -> Iterator[dict[str, str]]:
    for target in targets:
        for series in target["result"]:
            yield {**series["metric"], "name": _legend(target["legend"], series["metric"])}


def _legend(template: str, labels: Mapping[str, str]) -> str:
    return LABEL.sub(lambda found: labels.get(found[1], ""), template)


def _last(series: Mapping[str, Any]) -> str:
    return str(series["values"][-1][1] if "values" in series else series["value"][1])


def _filled(url: str, cells: Mapping[str, str], request: BoardRequest) -> str:
    def value(found: re.Match[str]) -> str:
        text = _value(found[1], cells, request)
        if found[1] == "__url_time_range":
            return text
        return quote(text, safe="" if found[2] == "percentencode" else URI)

    return PLACEHOLDER.sub(value, url)


def _value(name: str, cells: Mapping[str, str], request: BoardRequest) -> str:
    """The value of a placeholder. Raises LinkBroken."""
    if name == "__url_time_range":
        begin, end = (round(at_s * MS) for at_s in (request.shown.begin_s, request.shown.end_s))
        return f"from={begin}&to={end}"
    if (found := re.fullmatch(r"__(?:data\.fields|field\.labels)\.(\w+?)(?:\.numeric)?", name)) is not None:
        known: Mapping[str, str] = cells
        name = found[1]
    else:
        known = request.variables
    if name not in known:
        raise LinkBroken(f"{name} is not one of {sorted(known)}")
    return known[name]
