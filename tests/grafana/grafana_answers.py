"""Answers of Grafana's HTTP API, and the URLs and queries of its pages. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import msgspec

BOARD_PATH = re.compile(r"/d/(?P<uid>[\w-]+)(/|$)")
QUERY_PATH = re.compile(r"^/api/ds/query$|^/apis/query\.grafana\.app/")
RESOURCE_PATH = re.compile(
    r"^/api/datasources/uid/[\w-]+/resources/|^/apis/[\w.-]+\.datasource\.grafana\.app/"
)
"""The answers to the queries of variables."""
VARIABLE_PREFIX = "var-"
FIRST_ERROR_STATUS = 400
LONGEST_TEXT = 200


class GrafanaHealth(msgspec.Struct):
    """`/api/health`."""

    database: str
    version: str


class FoundBoard(msgspec.Struct):
    """A dashboard in the answer of `/api/search`."""

    uid: str
    title: str
    tags: list[str]


class QueryResult(msgspec.Struct):
    """The answer to one query of a panel."""

    error: str = ""
    status: int = 200


class QueryAnswer(msgspec.Struct):
    """The answer to all queries of a panel, by refId."""

    results: dict[str, QueryResult]


HEALTH = msgspec.json.Decoder(GrafanaHealth)
FOUND_BOARDS = msgspec.json.Decoder(list[FoundBoard])
QUERY_ANSWER = msgspec.json.Decoder(QueryAnswer)


@dataclass(frozen=True)
class DataAnswer:
    """What the page received from a data source."""

    url: str
    status: int
    body: bytes


def is_data_request(url: str) -> bool:
    """Whether an answer from this URL has data of a panel or of a variable."""
    path = urlsplit(url).path
    return bool(QUERY_PATH.match(path) or RESOURCE_PATH.match(path))


def answer_errors(answer: DataAnswer) -> list[str]:
    """The errors in an answer from a data source; empty when there are none."""
    path = urlsplit(answer.url).path
    if QUERY_PATH.match(path):
        try:
            results = QUERY_ANSWER.decode(answer.body).results
        except msgspec.DecodeError:
            return [f"{path}: status {answer.status}: {_text(answer.body)}"]
        errors = [
            f"query {name}: {result.error or f'status {result.status}'}"
            for name, result in results.items()
            if result.error or result.status >= FIRST_ERROR_STATUS
        ]
        if errors or answer.status < FIRST_ERROR_STATUS:
            return errors
    if answer.status >= FIRST_ERROR_STATUS:
        return [f"{path}: status {answer.status}: {_text(answer.body)}"]
    return []


def url_variables(url: str) -> dict[str, list[str]]:
    """The values of the variables in the URL of a dashboard; a variable without a value is not in it."""
    return {
        name.removeprefix(VARIABLE_PREFIX): values
        for name, values in parse_qs(urlsplit(url).query).items()
        if name.startswith(VARIABLE_PREFIX)
    }


def variables_in(sent: str, names: Iterable[str]) -> set[str]:
    """The variables that a sent query still contains by name. `$__interval` and the like are no variables."""
    return {name for name in names if re.search(rf"\$(\{{{name}(:\w+)?\}}|{name}\b)", sent)}


def board_uid(url: str) -> str | None:
    """The uid of the dashboard to which a URL leads; None when it leads to none."""
    found = BOARD_PATH.match(urlsplit(url).path)
    return found["uid"] if found else None


def linked_boards(urls: Iterable[str]) -> set[str]:
    """The uids of all dashboards to which URLs lead."""
    return {uid for url in urls if (uid := board_uid(url)) is not None}


def _text(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())[:LONGEST_TEXT]
