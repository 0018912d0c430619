"""What a browser found in a dashboard of Grafana, and what is wrong with it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tests.boards.board_request import filled_text
from tests.grafana.grafana_answers import (
    DataAnswer,
    FoundBoard,
    answer_errors,
    linked_boards,
    url_variables,
    variables_in,
)
from tests.prometheus.grafana_queries import TimeRange, panels

ProblemKind = Literal["panel", "status", "query", "page", "variable", "link"]
OUTSIDE = {"vllm-kv-cache": "vLLM's own dashboard, which kvchaos does not contain"}
"""Dashboards of others to which links lead, by uid, with the reason why they are not in Grafana here."""


class DrawnPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The panels, error messages and links in the document of a page."""

    panels: list[str]
    """Titles."""
    errors: list[str]
    """Titles of the panels with an error mark in their header."""
    alerts: list[str]
    """Texts of error messages."""
    loading: int
    """Panels that still wait for data."""
    links: list[str]


@dataclass(frozen=True)
class OpenedBoard:
    """A dashboard after all its panels were drawn, or after the time limit."""

    board: Mapping[str, Any]
    url: str
    shown: TimeRange
    drawn: DrawnPage
    answers: Sequence[DataAnswer] = ()
    sent: Sequence[str] = ()
    """Bodies of the requests for data."""
    data_links: Sequence[str] = ()
    """URLs of all rows and series with links."""


@dataclass(frozen=True, order=True)
class BoardProblem:
    """One difference from a dashboard that works. `subject`: title, variable, query or uid."""

    kind: ProblemKind
    subject: str
    text: str = field(default="", compare=False)


def panel_problems(opened: OpenedBoard) -> list[BoardProblem]:
    """Panels that are missing, wait for data or show an error, and queries that failed."""
    return [*_missing_panels(opened), *_shown_errors(opened.drawn), *_failed_queries(opened)]


def variable_problems(opened: OpenedBoard) -> list[BoardProblem]:
    """Variables without a value, and variables that a query still contains by name."""
    names = [variable["name"] for variable in opened.board["templating"]["list"]]
    values = url_variables(opened.url)
    unresolved = set().union(*(variables_in(sent, names) for sent in opened.sent))
    return [
        *(BoardProblem("variable", name, "no value") for name in names if not any(values.get(name, ()))),
        *(BoardProblem("variable", name, "in a query by name") for name in sorted(unresolved)),
    ]


def link_problems(opened: OpenedBoard, found: Sequence[FoundBoard]) -> list[BoardProblem]:
    """Links to dashboards that this Grafana does not have, and dashboards of a tag without their link."""
    known = {board.uid for board in found}
    fixed = [link["url"] for link in opened.board["links"] if link["type"] == "link"]
    linked = linked_boards([*opened.drawn.links, *opened.data_links, *fixed])
    expected = {uid for link in opened.board["links"] for uid in _tagged(link, found)}
    drawn = linked_boards(opened.drawn.links)
    return [
        *(BoardProblem("link", uid, "no such dashboard") for uid in sorted(linked - known - set(OUTSIDE))),
        *(
            BoardProblem("link", uid, "no link to it")
            for uid in sorted(expected - drawn - {opened.board["uid"]})
        ),
    ]


def _missing_panels(opened: OpenedBoard) -> Iterator[BoardProblem]:
    variables = {name: values[0] for name, values in url_variables(opened.url).items()}
    titles = (filled_text(panel["title"], variables, opened.shown) for panel in panels(opened.board))
    missing = Counter(titles) - Counter(opened.drawn.panels)
    yield from (BoardProblem("panel", title, "not drawn") for title in missing)


def _shown_errors(drawn: DrawnPage) -> Iterator[BoardProblem]:
    yield from (BoardProblem("status", title, "error mark") for title in drawn.errors)
    yield from (BoardProblem("page", text) for text in drawn.alerts)
    if drawn.loading:
        yield BoardProblem("page", "loading", f"{drawn.loading} panels wait for data")


def _failed_queries(opened: OpenedBoard) -> Iterator[BoardProblem]:
    errors = (error for answer in opened.answers for error in answer_errors(answer))
    yield from (BoardProblem("query", error) for error in dict.fromkeys(errors))
    if not opened.answers:
        yield BoardProblem("query", "none", "the page sent no query")


def _tagged(link: Mapping[str, Any], found: Sequence[FoundBoard]) -> Iterator[str]:
    if link["type"] == "dashboards":
        yield from (board.uid for board in found if set(link["tags"]) <= set(board.tags))
