"""What the page needs of a board: its panels, with the answers of Prometheus to their queries.

Intervals and variables are as Grafana fills them in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from tests.prometheus.grafana_queries import TimeRange, panels, values_of

WIDTH = 1500
COLUMNS = 24
VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
DURATION = re.compile(r"(\d+)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LIMITS = (
    1.5,
    3.5,
    7.5,
    12.5,
    17.5,
    25,
    45,
    90,
    210,
    450,
    750,
    1050,
    1500,
    2700,
    5400,
    9000,
    16200,
    32400,
    86400,
)
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200)
DAY_S = 86400
"""Grafana's rounding of an interval in seconds: below each limit the step, else a day."""


@dataclass(frozen=True)
class BoardRequest:
    """A board whose queries are answered."""

    board: Mapping[str, Any]
    variables: Mapping[str, str]
    shown: TimeRange
    answered: Sequence[tuple[Mapping[str, Any], list[dict[str, Any]]]]
    """Each panel that shows data, with its queries and their answers."""
    annotations: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        rows = [panel for panel in self.board["panels"] if panel["type"] == "row"]
        grids = [panel["gridPos"] for panel in self.board["panels"]]
        return {
            "width": WIDTH,
            "height_rows": max(grid["y"] + grid["h"] for grid in grids),
            "from_ms": self.shown.begin_s * 1000,
            "to_ms": self.shown.end_s * 1000,
            "timeZone": "utc",
            "variables": dict(self.variables),
            "rows": rows,
            "panels": [{"panel": panel, "targets": targets} for panel, targets in self.answered],
            "annotations": self.annotations,
        }


def request_board(
    board: Mapping[str, Any],
    prometheus: PrometheusConnect,
    shown: TimeRange,
    chosen: Mapping[str, str],
) -> BoardRequest:
    """Resolve the variables, run all queries. `chosen`: values of variables other than the first one."""
    variables = dict(resolved_variables(board, prometheus, shown, chosen))
    answered = [
        (panel, [_answered(panel, target, prometheus, variables, shown) for target in panel["targets"]])
        for panel in panels(board)
    ]
    marks = [
        mark
        for annotation in board["annotations"]["list"]
        for mark in _marks(annotation, prometheus, variables, shown)
    ]
    return BoardRequest(board, variables, shown, answered, marks)


def resolved_variables(
    board: Mapping[str, Any],
    prometheus: PrometheusConnect,
    shown: TimeRange,
    chosen: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """The value of each variable; empty where Prometheus has none. Later ones refer to earlier ones."""
    known: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable.get("includeAll") and variable["name"] not in chosen:
            known[variable["name"]] = variable["allValue"]
        elif variable["type"] == "query":
            values = values_of(prometheus, variable, shown, known)
            first = chosen.get(variable["name"], values[0] if values else "")
            known[variable["name"]] = first if first in values else ""
        elif variable["type"] == "datasource":
            known[variable["name"]] = "prometheus"
        else:
            known[variable["name"]] = chosen.get(variable["name"], str(variable["query"]).partition(",")[0])
    yield from known.items()


def filled_text(text: str, variables: Mapping[str, str], shown: TimeRange) -> str:
    """PromQL, a title or a legend with the variables filled in; an unknown variable stays."""
    length_s = math.ceil(shown.end_s - shown.begin_s)
    built_in = {
        "__interval": f"{shown.step_s}s",
        "__rate_interval": f"{max(shown.step_s + shown.scrape_s, 4 * shown.scrape_s)}s",
        "__range": f"{length_s}s",
        "__range_s": str(length_s),
    }
    known = {**built_in, **variables}
    return VARIABLE.sub(lambda found: known.get(found[1], found[0]), text)


def step_s(panel: Mapping[str, Any], shown: TimeRange) -> int:
    """The interval at which Grafana queries the panel at its width."""
    points = panel.get("maxDataPoints") or round(WIDTH * panel["gridPos"]["w"] / COLUMNS)
    wanted = (shown.end_s - shown.begin_s) / points
    rounded = next((step for limit, step in zip(LIMITS, STEPS, strict=True) if wanted < limit), DAY_S)
    least = DURATION.fullmatch(panel.get("interval") or f"{shown.scrape_s}s")
    assert least is not None, panel["interval"]
    return max(rounded, int(least[1]) * SECONDS[least[2]])


def _answered(
    panel: Mapping[str, Any],
    target: Mapping[str, Any],
    prometheus: PrometheusConnect,
    variables: Mapping[str, str],
    shown: TimeRange,
) -> dict[str, Any]:
    step = step_s(panel, shown)
    own = replace(shown, step_s=step)
    expr = filled_text(target["expr"], variables, own)
    instant = bool(target.get("instant")) and not target.get("range")
    answer = {
        "refId": target["refId"],
        "expr": expr,
        "legend": filled_text(target.get("legendFormat", ""), variables, own),
        "format": target.get("format", "time_series"),
        "instant": instant,
        "step_ms": step * 1000,
        "error": "",
        "result": [],
    }
    try:
        answer["result"] = _run(prometheus, expr, own, instant=instant)
    except PrometheusApiClientException as error:
        answer["error"] = str(error)
    return answer


def _run(prometheus: PrometheusConnect, expr: str, shown: TimeRange, *, instant: bool) -> list[Any]:
    if instant:
        return list(prometheus.custom_query(expr, params={"time": shown.end_s}))
    # Grafana aligns both ends to the step.
    begin, end = (at_s // shown.step_s * shown.step_s for at_s in (shown.begin_s, shown.end_s))
    return list(
        prometheus.custom_query_range(
            expr,
            start_time=datetime.fromtimestamp(begin, UTC),
            end_time=datetime.fromtimestamp(end, UTC),
            step=f"{shown.step_s}s",
        )
    )


def _marks(
    annotation: Mapping[str, Any],
    prometheus: PrometheusConnect,
    variables: Mapping[str, str],
    shown: TimeRange,
) -> Iterator[dict[str, Any]]:
    """Where the query of an annotation is above 0: neighbours in time make one region."""
    found = DURATION.fullmatch(annotation.get("step") or "1s")
    assert found is not None, annotation
    own = replace(shown, step_s=int(found[1]) * SECONDS[found[2]])
    for series in _run(prometheus, filled_text(annotation["expr"], variables, own), own, instant=False):
        times = [at_s for at_s, value in series["values"] if float(value) > 0]
        for begin, end in _regions(times, own.step_s):
            yield {"colour": annotation["iconColor"], "from_ms": begin * 1000, "to_ms": end * 1000}


def _regions(times: list[float], step: int) -> Iterator[tuple[float, float]]:
    begin = end = None
    for at_s in times:
        if end is not None and begin is not None and at_s > end + step:
            yield begin, end
            begin = None
        begin, end = at_s if begin is None else begin, at_s
    if begin is not None and end is not None:
        yield begin, end
