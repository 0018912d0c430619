"""Readers of Grafana's API and URLs.

The inputs are small and fixed, in the shape of Grafana's manual; none came from a Grafana.
"""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.grafana.grafana_answers import (
    FOUND_BOARDS,
    HEALTH,
    DataAnswer,
    FoundBoard,
    answer_errors,
    board_uid,
    is_data_request,
    url_variables,
    variables_in,
)

BASE = "http://127.0.0.1:3000"
QUERY = f"{BASE}/api/ds/query?ds_type=prometheus&requestId=Q1"
RESOURCE = f"{BASE}/api/datasources/uid/prometheus/resources/api/v1/label/run/values?start=1&end=2"


def answer(content: object, status: int = 200, url: str = QUERY) -> DataAnswer:
    return DataAnswer(url, status, json.dumps(content).encode())


def test_health_has_version_and_state_of_the_database() -> None:
    health = HEALTH.decode(b'{"commit": "1", "database": "ok", "version": "13.2.3"}')
    assert (health.database, health.version) == ("ok", "13.2.3")


def test_health_without_a_version_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        HEALTH.decode(b'{"database": "ok"}')


def test_search_gives_uid_title_and_tags() -> None:
    body = b'[{"id": 1, "uid": "a", "title": "A", "tags": ["kvchaos"], "type": "dash-db", "url": "/d/a/a"}]'
    assert FOUND_BOARDS.decode(body) == [FoundBoard("a", "A", ["kvchaos"])]


@pytest.mark.parametrize(
    ("url", "data"),
    [
        (QUERY, True),
        (f"{BASE}/apis/query.grafana.app/v0alpha1/namespaces/default/query", True),
        (RESOURCE, True),
        (f"{BASE}/apis/prometheus.datasource.grafana.app/v0alpha1/namespaces/default/resources/a", True),
        (f"{BASE}/api/search", False),
        (f"{BASE}/d/kvchaos-run?url=/api/ds/query", False),
    ],
)
def test_path_decides_whether_a_request_is_for_data(url: str, data: bool) -> None:
    assert is_data_request(url) is data


def test_answer_with_frames_has_no_error() -> None:
    assert answer_errors(answer({"results": {"A": {"status": 200, "frames": [{}]}}})) == []


def test_answer_without_series_has_no_error() -> None:
    assert answer_errors(answer({"results": {"A": {"status": 200, "frames": []}}})) == []


@pytest.mark.parametrize("status", [200, 207, 400])
def test_refused_query_is_found_by_its_ref_id(status: int) -> None:
    content = {"results": {"A": {"frames": []}, "B": {"error": "parse error", "status": 400}}}
    (error,) = answer_errors(answer(content, status))
    assert "B" in error
    assert "parse error" in error


def test_query_with_a_status_alone_is_an_error() -> None:
    assert len(answer_errors(answer({"results": {"A": {"status": 502}}}))) == 1


@pytest.mark.parametrize(
    ("content", "status", "url"),
    [
        ({"message": "Data source not found"}, 404, QUERY),
        ({"results": {}}, 500, QUERY),
        ({"unexpected": True}, 200, QUERY),
        ({"status": "error", "error": "timeout"}, 503, RESOURCE),
    ],
)
def test_failed_request_for_data_is_one_error(content: object, status: int, url: str) -> None:
    assert len(answer_errors(answer(content, status, url))) == 1


def test_page_instead_of_an_answer_is_an_error() -> None:
    assert len(answer_errors(DataAnswer(QUERY, 502, b"<html>Bad gateway</html>"))) == 1


def test_values_of_a_variable_are_an_answer_without_error() -> None:
    assert answer_errors(answer({"status": "success", "data": ["a"]}, 200, RESOURCE)) == []


def test_variables_of_a_url_are_those_with_a_value() -> None:
    url = f"{BASE}/d/kvchaos-run/a-run?orgId=1&from=1&to=2&var-run=a%2Fb&var-run=c&var-empty="
    assert url_variables(url) == {"run": ["a/b", "c"]}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ('up{run="$run"}', {"run"}),
        ('up{run="${run:percentencode}"}', {"run"}),
        ("${runs_url}", {"runs_url"}),
        ("rate(up[$__rate_interval])", set()),
        ("$runner", set()),
        ('up{run="a"}', set()),
    ],
)
def test_unresolved_variable_in_a_query_is_found(sent: str, found: set[str]) -> None:
    assert variables_in(sent, ["run", "runs_url"]) == found


@pytest.mark.parametrize(
    ("url", "uid"),
    [
        ("/d/kvchaos-run?var-run=a", "kvchaos-run"),
        (f"{BASE}/d/kvchaos-nights/kvchaos-nights?from=1", "kvchaos-nights"),
        ("http://127.0.0.1:8000/a/report.html#verdict", None),
        ("/dashboards", None),
        ("/", None),
    ],
)
def test_uid_of_a_link_to_a_board(url: str, uid: str | None) -> None:
    assert board_uid(url) == uid
