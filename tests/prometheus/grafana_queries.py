"""Run the queries of a dashboard on a Prometheus, as Grafana would."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_api_client import PrometheusConnect

FOLDER = Path(__file__).parents[2] / "dashboards"
DASHBOARDS = sorted(FOLDER.glob("*.json"))
RUN_BOARD, NIGHT_BOARD = FOLDER / "run.json", FOLDER / "nights.json"
CAMPAIGN_BOARD, FLEET_BOARD = FOLDER / "campaign.json", FOLDER / "fleet.json"
RATE_INTERVAL = "4s"
"""What Grafana makes of $__rate_interval where scrapes are 1 s apart: four of them."""
LABEL_VALUES = re.compile(r"label_values\((?P<metric>.+), *(?P<label>\w+)\)")


@dataclass(frozen=True)
class Query:
    """One query of a dashboard."""

    where: str
    expr: str
    legend: str = ""
    instant: bool = False
    """Whether only the end of the time shown is queried."""


@dataclass(frozen=True)
class Answer:
    """One series of what came back, (seconds, value), without what is no number."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class TimeRange:
    """Of the time that a dashboard shows, seconds since the epoch."""

    begin_s: float
    end_s: float
    step_s: int = 1
    scrape_s: int = 1
    """From scrape to scrape."""


def read(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All that show something."""
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def queries(board: Mapping[str, Any]) -> Iterator[Query]:
    """Of all panels and annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            where = f"{panel['title']} {target['refId']}"
            instant = target.get("instant", False)
            yield Query(where, target["expr"], target.get("legendFormat", ""), instant)
    for annotation in board["annotations"]["list"]:
        yield Query(f"annotation {annotation['name']}", annotation["expr"], annotation["titleFormat"])


def run_query(
    prometheus: PrometheusConnect, query: Query, variables: Mapping[str, str], shown: TimeRange
) -> list[Answer]:
    """The series that a query gives, each with at least one number."""
    found = prometheus.custom_query_range(
        filled(query.expr, variables, shown),
        start_time=datetime.fromtimestamp(shown.end_s if query.instant else shown.begin_s, UTC),
        end_time=datetime.fromtimestamp(shown.end_s, UTC),
        step=f"{shown.step_s}s",
    )
    answers = (Answer(_name(query.legend, one["metric"]), _numbers(one["values"])) for one in found)
    return [answer for answer in answers if answer.points]


def values_of(
    prometheus: PrometheusConnect,
    variable: Mapping[str, Any],
    shown: TimeRange,
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """What a variable of a dashboard can be, given the `variables` that its query refers to."""
    label_values = LABEL_VALUES.fullmatch(variable["query"])
    assert label_values is not None, variable["query"]
    metric = filled(label_values["metric"], variables or {}, shown)
    params = {"match[]": metric, "start": shown.begin_s, "end": shown.end_s}
    return list(prometheus.get_label_values(label_values["label"], params=params))


def filled(expr: str, variables: Mapping[str, str], shown: TimeRange) -> str:
    """PromQL as Grafana sends it."""
    spans = {
        "__rate_interval": RATE_INTERVAL,
        "__range": f"{math.ceil(shown.end_s - shown.begin_s)}s",
        "__interval": f"{shown.step_s}s",
    }
    for name, value in {**spans, **variables}.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr, expr
    return expr


def _name(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def _numbers(values: list[tuple[float, str]]) -> list[tuple[float, float]]:
    points = [(t_s, float(value)) for t_s, value in values]
    return [(t_s, value) for t_s, value in points if math.isfinite(value)]
